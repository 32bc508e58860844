"""What an attack did, measured: the hinge between attacks and everything that shows them."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from torch import Tensor

from explorer import __version__
from explorer.goals import probabilities


@lru_cache
def versions() -> dict[str, str]:
    """Releases a result depends on."""
    found = {"explorer": __version__, "python": platform.python_version()}
    for package in ("torch", "open_clip_torch", "timm", "transformers", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found


@dataclass(frozen=True, eq=False)
class Reading:
    """What a model says of N images against K captions.

    features: (N, D); cosines, probabilities: (N, K); prediction: (N,). All float32 on the CPU.
    """

    features: Tensor
    cosines: Tensor
    probabilities: Tensor

    @classmethod
    def of(cls, features: Tensor, text: Tensor, scale: float) -> Reading:
        cosine = (features @ text.T).cpu()
        return cls(features.cpu(), cosine, probabilities(cosine, scale))

    @property
    def prediction(self) -> Tensor:
        return self.cosines.argmax(1)


@dataclass(frozen=True, eq=False)
class Result:
    """One attack on N images by one model. Pictures are (N, 3, S, S) in [0, 1], exactly the
    8-bit values that are shown and saved; every number is measured on them.

    linf_255: (N,) L-inf distance in grey levels; l2: (N,) in [0, 1] pixel units; success: (N,)
    the saved picture meets the goal, even if the clean one did already (`correct_before`);
    raw_success: (N,) the same before rounding to 8 bits; queries: forward passes an image;
    frames: (F, 3, S, S) of image 0, clean first, attacked last, with their readings in trail;
    frame_steps: the step each was taken after.
    """

    model: str
    attack: str
    settings: dict[str, Any]
    goal: str
    seed: int
    captions: tuple[str, ...]
    labels: Tensor
    targets: Tensor | None
    scale: float
    text_features: Tensor
    images: Tensor
    adversarial_images: Tensor
    clean: Reading
    adversarial: Reading
    success: Tensor
    raw_success: Tensor
    linf_255: Tensor
    l2: Tensor
    queries: int
    seconds: float
    frames: Tensor | None = None
    frame_steps: tuple[int, ...] = ()
    trail: Reading | None = None
    versions: dict[str, str] = field(default_factory=versions)

    @property
    def image_cosine(self) -> Tensor:
        """(N,) cosine between clean and adversarial image features."""
        return (self.clean.features * self.adversarial.features).sum(1).clamp(-1, 1)

    @property
    def correct_before(self) -> Tensor:
        return self.clean.prediction == self.labels

    @property
    def correct_after(self) -> Tensor:
        return self.adversarial.prediction == self.labels

    @property
    def changed(self) -> Tensor:
        """(N,) whether any pixel value moved."""
        return self.linf_255 > 0
