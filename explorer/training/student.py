"""The model being trained: an open_clip module with its normalisation inside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from explorer.base.errors import InputError
from explorer.models.encoder import DualEncoder
from explorer.models.fast.padding import padding, read, without_padding
from explorer.training.attention import features_and_patches

MOST_SCALE = 100.0  # of the logits (Radford et al. 2021, arXiv 2103.00020, section 2.5)
Tokenize = Callable[[list[str]], Tensor]


class Student(nn.Module):
    """Pixels in [0, 1] and tokens in, raw features out, in one forward pass.

    One pass, since DistributedDataParallel follows the gradients of one forward call an update.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, clip: Any, mean: Tensor, std: Tensor, pad: int | None) -> None:
        """pad: the token that only fills up a row, see explorer.models.fast.padding."""
        super().__init__()
        self.clip, self.pad = clip, pad
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def forward(self, pixels: Tensor | None = None, tokens: Tensor | None = None,
                patches: bool = False) -> dict[str, Tensor]:
        """pixels: (N, 3, S, S); tokens: (K, L). Raw "image" (N, D) and "text" (K, D), "patches"
        (N, P, D) when asked for, and "scale", all float32."""
        out = {}
        if pixels is not None:
            x = ((pixels - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
            if patches:
                out["image"], out["patches"] = features_and_patches(self.clip.visual, x)
            else:
                out["image"] = self.clip.encode_image(x)
        if tokens is not None:
            out["text"] = read(self.clip, without_padding(tokens, self.pad))
        out = {key: value.float() for key, value in out.items()}
        return {**out, "scale": self.clip.logit_scale.exp()}

    @property
    def towers(self) -> dict[str, list[nn.Parameter]]:
        """The parameters of image, text and scale; every one is in exactly one of them."""
        parts: dict[str, list[nn.Parameter]] = {"image": [], "text": [], "scale": []}
        for name, parameter in self.clip.named_parameters():
            part = "image" if name.startswith("visual.") else "text"
            parts["scale" if name in ("logit_scale", "logit_bias") else part].append(parameter)
        return parts

    def train_only(self, parts: Sequence[str]) -> None:
        for part, parameters in self.towers.items():
            for parameter in parameters:
                parameter.requires_grad_(part in parts)

    def cap_scale(self) -> None:
        with torch.no_grad():
            self.clip.logit_scale.clamp_(max=torch.tensor(MOST_SCALE).log().item())


def student_of(model: DualEncoder) -> Student:
    """Takes over the weights of a model that nobody else uses. Raises InputError where the
    fine-tuned model could not be saved as an open_clip folder."""
    clip: Any = model.clip
    if not hasattr(clip, "visual") or model.card.source.startswith("transformers:"):
        raise InputError(f"{model.card.id} is no open_clip model, so it cannot be fine-tuned and "
                         "saved as one: choose another base")
    if getattr(clip, "logit_bias", None) is not None:
        raise InputError(f"{model.card.id} is trained with a sigmoid loss (SigLIP), which these "
                         "methods do not use: choose another base")
    return Student(clip, model.mean, model.std, padding(clip))


class Shown(DualEncoder):
    """A copy of the model in training, for measuring it."""

    def take(self, clip: nn.Module | None) -> None:
        """Takes over the weights of `clip`; None: its own have been changed in place."""
        if clip is not None:
            self.clip.load_state_dict(clip.state_dict())
        self.scale = float(self.clip.logit_scale.exp())  # type: ignore[operator]
        self.forget_features()


@contextmanager
def untouched(module: nn.Module) -> Iterator[None]:
    """Weights that need no gradient, and eval mode, while an attack runs; both restored."""
    training = {m: m.training for m in module.modules()}
    needed = [p for p in module.parameters() if p.requires_grad]
    for parameter in needed:
        parameter.requires_grad_(False)
    module.eval()
    try:
        yield
    finally:
        for parameter in needed:
            parameter.requires_grad_(True)
        for inner, mode in training.items():
            inner.training = mode


def unit(raw: Tensor) -> Tensor:
    return F.normalize(raw, dim=1)


@torch.no_grad()
def encode_captions(student: Student, tokenize: Tokenize, captions: Sequence[str],
                    batch: int = 256) -> Tensor:
    """(K, D) raw features of captions with the weights as they are now; no gradient."""
    device = student.mean.device
    parts = [student(tokens=tokenize(list(captions[i : i + batch])).to(device))["text"]
             for i in range(0, len(captions), batch)]
    return torch.cat(parts)
