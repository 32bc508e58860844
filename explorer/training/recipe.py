"""Everything that decides what a run computes, as one frozen dataclass. No heavy import."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from explorer.base.errors import InputError
from explorer.training.methods import METHODS, Method

TARGETS = ("paper", "masked", "soft")
SIDES = ("both", "image", "text")
PARTS = ("image", "text", "scale")
PRECISIONS = ("auto", "bf16", "fp32")
TEXT_ATTACKS = ("bert", "character")
AUGMENT = ("none", "crop", "crop+flip")
AGAINST = ("classes", "batch")


def setting(default: Any, label: str, help: str, **form: Any) -> Any:
    """A field that also describes its form control and flag: low, high, step, unit, choices."""
    return field(default=default, metadata={"label": label, "help": help, **form})


@dataclass(frozen=True)
class Recipe:
    """Settings of one run. eps and inner_step are in [0, 1] pixel units (L2: of the whole change).

    A step is one update of the weights, on `batch` x `accumulation` pictures over all processes.
    Raises InputError for a value out of its range.
    """

    method: str = setting("mmcoa", "Method", "which loss is minimised", choices=tuple(METHODS))
    eps: float = setting(1 / 255, "Budget ε", "largest change a pixel may have in training",
                         low=0, high=16 / 255, step=1 / 255, unit="/255")
    norm: str = setting("linf", "Norm", "linf: every pixel by at most ε; l2: the whole change",
                        choices=("linf", "l2"))
    inner_steps: int = setting(2, "Attack steps", "PGD steps against each picture in training; "
                               "each costs one pass forward and back", low=1, high=100, step=1)
    inner_step: float | None = setting(None, "Attack step size", "one PGD step; empty: 1/255 up "
                                       "to ε 4/255, else 2.5 ε / steps", low=0, high=8 / 255,
                                       step=0.25 / 255, unit="/255")
    random_start: bool = setting(True, "Random start", "PGD starts at a random point in the budget")
    against: str = setting("classes", "Captions the picture is attacked with", "classes: all class "
                           "captions, as in the paper (sets of free captions always use batch); "
                           "batch: the different captions of the batch", choices=AGAINST)
    text_attack: str = setting("bert", "Text attack", "bert: words a language model would put "
                               "there; character: single keystrokes (always so in LEAF)",
                               choices=TEXT_ATTACKS)
    words: int = setting(1, "Words", "words that bert may exchange in a caption", low=1, high=5,
                         step=1)
    candidates: int = setting(10, "Candidates a word", "of bert", low=1, high=50, step=1)
    characters: int = setting(1, "Characters", "edit distance of character", low=1, high=5, step=1)
    rho: int = setting(50, "Places and characters tried", "of character", low=1, high=200, step=1)
    refresh: int = setting(50, "Steps between text attacks", "an attacked caption, and the class "
                           "captions' features in the image attack, are used for so many steps "
                           "before they are made anew", low=1, high=10_000, step=1)
    steps: int = setting(0, "Steps", "updates of the weights; 0: as many as the epochs need",
                         low=0, high=1_000_000, step=1)
    epochs: float = setting(1.0, "Epochs", "passes over the data, where steps is 0", low=0.01,
                            high=1000, step=1)
    batch: int = setting(64, "Batch", "pictures at once, over all processes", low=2, high=65_536,
                         step=1)
    accumulation: int = setting(1, "Accumulated batches", "batches before one update; other "
                                "pictures of a contrastive loss come from the same batch alone",
                                low=1, high=1024, step=1)
    lr: float = setting(1e-5, "Learning rate", "AdamW, of the image tower", low=0, high=1e-2,
                        step=1e-6)
    text_lr: float | None = setting(None, "Text learning rate", "of the text tower and the logit "
                                    "scale; empty: the image tower's", low=0, high=1e-2, step=1e-6)
    weight_decay: float = setting(1e-4, "Weight decay", "AdamW, of matrices and kernels", low=0,
                                  high=1, step=1e-4)
    warmup: int = setting(50, "Warm-up", "steps in which the learning rate rises; it then falls "
                          "along a cosine to zero", low=0, high=100_000, step=1)
    clip_gradient: float = setting(5.0, "Largest gradient", "norm above which the gradient is "
                                   "scaled down; 0: never", low=0, high=100, step=0.5)
    ema: float = setting(0.0, "Averaging", "decay of the moving average of the weights that is "
                         "measured and kept; 0: the last weights", low=0, high=0.99999, step=0.001)
    targets: str = setting("paper", "Same captions in a batch", "paper: other pictures of the same "
                           "caption count as wrong; masked: they are left out; soft: all of them "
                           "are right", choices=TARGETS)
    attack_sides: str = setting("both", "Attacked sides", "of mmcoa and mmcoa+: both terms, or "
                                "only the image's or the text's", choices=SIDES)
    lambda_img: float = setting(0.5, "Weight of the image term", "perturbed images, clean captions",
                                low=0, high=10, step=0.1)
    lambda_txt: float = setting(0.5, "Weight of the text term", "clean images, perturbed captions",
                                low=0, high=10, step=0.1)
    joint: float = setting(0.0, "Weight of the joint term", "mmcoa+: perturbed images with "
                           "perturbed captions", low=0, high=10, step=0.1)
    anchor: float = setting(2.0, "Image anchor", "mmcoa+: weight of the distance to the frozen "
                            "image features", low=0, high=100, step=0.1)
    text_anchor: float = setting(2.0, "Text anchor", "mmcoa+: weight of the distance to the frozen "
                                 "text features", low=0, high=100, step=0.1)
    attention_adv: float = setting(0.08, "Attention, perturbed", "tga: weight of the attention of "
                                   "perturbed images", low=0, high=10, step=0.01)
    attention_clean: float = setting(0.05, "Attention, clean", "tga: weight of the attention of "
                                     "clean images", low=0, high=10, step=0.01)
    freeze: str = setting("", "Frozen parts", "of image, text and scale, those that stay as they "
                          "are although the method would train them, with commas", text=True)
    augment: str = setting("crop", "Augmentation", "crop: a random square of 90 to 100 % of the "
                           "picture; crop+flip: and mirrored half of the time (bad for writing)",
                           choices=AUGMENT)
    template: str = setting("a photo of a {}", "Caption of a class", "with {} where its name goes",
                            text=True)
    norm_layers: str = setting("eval", "Statistics and dropout", "eval: batch statistics stay and "
                               "nothing is dropped; train: both as in training (attacks always "
                               "see eval)", choices=("eval", "train"))
    depthwise_share: float = setting(1.0, "Part for depthwise gradients", "CPU only: part of the "
                                     "batch that the weight gradients of depthwise convolutions "
                                     "are estimated from; below 1 is faster and noisier",
                                     low=0.05, high=1, step=0.05)
    precision: str = setting("auto", "Precision", "auto: bfloat16 where the hardware has it",
                             choices=PRECISIONS)
    seed: int = setting(0, "Seed", "of the order, the augmentation and the attacks", low=0,
                        high=2**31 - 1, step=1)

    def __post_init__(self) -> None:
        for entry in fields(self):
            _check(entry.name, getattr(self, entry.name), entry.metadata, str(entry.type))
        if "{}" not in self.template:
            raise InputError("the template must have {} where the class name goes")
        if self.norm == "linf" and self.eps > 1:
            raise InputError("an L-inf eps above 1 (255/255) is wider than the pixel range")
        unknown = set(self.frozen) - set(PARTS)
        if unknown:
            raise InputError(f"freeze takes {', '.join(PARTS)}, not '{sorted(unknown)[0]}'")
        if not self.trained:
            raise InputError(f"nothing is left to train: {self.method} trains "
                             f"{', '.join(self.kind.trains)}, and all of it is frozen")
        if self.attack_sides != "both" and not self.kind.sides:
            sided = " and ".join(name for name, kind in METHODS.items() if kind.sides)
            raise InputError(f"attack_sides is a choice of {sided} only")
        if self.lambda_img == self.lambda_txt == self.joint == 0:
            raise InputError("with all weights at 0 there is no loss")

    @property
    def kind(self) -> Method:
        return METHODS[self.method]

    @property
    def frozen(self) -> tuple[str, ...]:
        return tuple(part.strip() for part in self.freeze.split(",") if part.strip())

    @property
    def trained(self) -> tuple[str, ...]:
        """Which of image, text and scale change."""
        return tuple(part for part in self.kind.trains if part not in self.frozen)

    @property
    def attacks_images(self) -> bool:
        return bool(self.kind.image_attack) and self.attack_sides != "text"

    @property
    def attacks_text(self) -> bool:
        return self.kind.text_attack and self.attack_sides != "image"

    def total(self, pictures: int) -> int:
        """Steps of the run on a set of so many pictures."""
        each = self.batch * self.accumulation
        return self.steps or max(1, round(self.epochs * pictures / each))

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def _check(name: str, value: Any, form: Any, kind: str) -> None:
    if value is None and "None" in kind:
        return
    choices = form.get("choices")
    if choices:
        if value not in choices:
            raise InputError(f"{name} must be one of {', '.join(choices)}, not '{value}'")
        return
    if kind.startswith(("int", "float")):
        right = isinstance(value, int) if kind == "int" else isinstance(value, int | float)
        if not right or isinstance(value, bool) or not math.isfinite(value):
            whole = "whole " if kind == "int" else ""
            raise InputError(f"{name} must be a {whole}number, not {value!r}")
        low, high = form["low"], form["high"]
        above = math.inf if name in ("eps", "inner_step") else high  # L2 sizes are larger
        if not low <= value <= above:
            raise InputError(f"{name} must be from {low:g} to {above:g}, not {value:g}")
        if value == 0 and name in ("lr", "inner_step"):
            raise InputError(f"{name} must be above 0")
    elif kind != ("bool" if isinstance(value, bool) else "str"):
        raise InputError(f"{name} must be {'on or off' if kind == 'bool' else 'text'}, "
                         f"not {value!r}")
