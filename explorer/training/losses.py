"""The losses, as pure functions of features; a scalar each, to be minimised.

Image and text features are (n, D); `unit` ones have length 1, `raw` ones are as the tower gives
them. scale is exp(logit scale). Rows are those of this process, columns those of all processes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def match(logits: Tensor, own: Tensor, same: Tensor, targets: str) -> Tensor:
    """Cross-entropy of each row's own column, () mean over rows.

    logits: (n, m); own: (n,) column index; same: (n, m) bool, columns with the caption of the
    row. targets "paper": every other column is wrong, also one with the same caption; "masked":
    those are left out; "soft": they share the target equally (as Khosla et al. 2020,
    arXiv 2004.11362, count positives; ours in this place).
    """
    if targets == "paper":
        return F.cross_entropy(logits, own)
    if targets == "masked":
        others = same.scatter(1, own[:, None], False)
        return F.cross_entropy(logits.masked_fill(others, -torch.inf), own)
    assert targets == "soft", targets
    share = same.to(logits.dtype)
    return F.cross_entropy(logits, share / share.sum(1, keepdim=True))


def contrastive(
    image: Tensor, text: Tensor, every_image: Tensor, every_text: Tensor, scale: Tensor,
    own: Tensor, same: Tensor, targets: str = "paper",
) -> Tensor:
    """CE(image -> text) + CE(text -> image): twice CLIP's symmetric loss (Radford et al. 2021,
    arXiv 2103.00020, figure 3). All features unit; image and text (n, D) of this process,
    every_image and every_text (m, D) of all; own: (n,) the rows' places among those.

    A term of MMCoA (Zhou et al. 2024, arXiv 2404.19287, section 3): with perturbed images and
    clean captions L_{I'-T}, with clean images and perturbed captions L_{I-T'}.
    """
    to_text = match(scale * image @ every_text.T, own, same, targets)
    to_image = match(scale * text @ every_image.T, own, same, targets)
    return to_text + to_image


def classify(image: Tensor, captions: Tensor, labels: Tensor, scale: Tensor) -> Tensor:
    """Cross-entropy over all K captions of softmax(scale x cosine). image: (n, D), captions:
    (K, D), both unit; labels: (n,).

    On perturbed images TeCoA (Mao et al. 2023, arXiv 2212.07016, section 3).
    """
    return F.cross_entropy(scale * image @ captions.T, labels)


def stay(raw: Tensor, frozen: Tensor) -> Tensor:
    """Squared distance of raw features (n, D) from the frozen model's, summed over D, mean over n.

    On perturbed images FARE (Schlarmann et al. 2024, arXiv 2402.12336, equation 3); on perturbed
    captions LEAF (Rocamora et al. 2025, arXiv 2506.03355, section 4).
    """
    return (raw - frozen).square().sum(1).mean()


def turn(unit: Tensor, frozen: Tensor) -> Tensor:
    """FARE's distance on unit features, 2 - 2 cosine, mean over n: our anchor in mmcoa+, whose
    weight then means the same for towers of any feature length."""
    return (2 - 2 * (unit * frozen).sum(1)).mean()


def divergence(logits: Tensor, guide: Tensor) -> Tensor:
    """KL(softmax(logits) || softmax(guide)), both (n, K), mean over n.

    PMG-AFT (Wang et al. 2024, arXiv 2401.04350, section 3): guide is the frozen model on the
    same perturbed image (generalisation), or the model itself on the clean one. Deviation: the
    logits carry the logit scale, which the released code drops.
    """
    ours = torch.log_softmax(logits, dim=1)
    return (ours.exp() * (ours - torch.log_softmax(guide, dim=1))).sum(1).mean()


def attention(now: Tensor, before: Tensor) -> Tensor:
    """Mean Euclidean distance of attention maps (n, H, W) from the frozen model's on clean images.

    TGA-ZSR (Yu et al. 2024, arXiv 2410.21802, section 3): attention refinement on perturbed
    images, model constraint on clean ones.
    """
    moved = (now - before).flatten(1)
    # The gradient of a length is not defined at 0, where a run starts on clean images.
    return (moved.square().sum(1) + 1e-12).sqrt().mean()
