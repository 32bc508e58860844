"""What a run tells of itself on the way."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class TrainingStep:
    """Update `index` of `total` is done. losses: the weighted terms, averaged over all processes;
    their sum is the loss. seconds: of this step; eta_s: until the last one. unreadable: pictures
    left out so far."""

    index: int
    total: int
    losses: dict[str, float]
    lr: float
    images_per_s: float
    eta_s: float
    unreadable: int = 0


@dataclass(frozen=True, eq=False)
class Sample:
    """One held-out picture, attacked. pixels, attacked: (3, S, S) on the 8-bit grid; truth, said
    and attacked_said are captions; the probabilities are of `said` and `attacked_said`."""

    pixels: Tensor
    attacked: Tensor
    truth: str
    said: str
    said_probability: float
    attacked_said: str
    attacked_probability: float


@dataclass(frozen=True, eq=False)
class Probe:
    """Accuracy of the model as it would be kept now, on n held-out pictures: clean, and under
    PGD of `steps` steps with the budget eps. Both in [0, 1]."""

    index: int
    total: int
    clean: float
    robust: float
    n: int
    eps: float
    steps: int
    samples: tuple[Sample, ...] = ()
    numbers: dict[str, dict[str, object]] = field(default_factory=dict)


@dataclass(frozen=True)
class Note:
    """Something a person should know, in a sentence."""

    text: str


@dataclass(frozen=True)
class End:
    """The model is in place. reason: "finished" or "stopped"; hours: of computing."""

    reason: str
    step: int
    hours: float


Event = TrainingStep | Probe | Note | End
