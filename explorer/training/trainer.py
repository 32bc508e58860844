"""The engine: one update of the weights after another, on any number of processes.

Hugging Face accelerate places the model and averages the gradients; what is random depends on
the recipe's seed and the step alone, so that a resumed run goes on as if it had not stopped.
"""

from __future__ import annotations

import copy
import time
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from explorer.base.errors import InputError
from explorer.models.encoder import DualEncoder
from explorer.models.fast.convolution import speed_up
from explorer.training.attacker import Batch
from explorer.training.data import TrainingSet
from explorer.training.errors import TrainingError
from explorer.training.events import TrainingStep
from explorer.training.gather import world
from explorer.training.inner import TextInner, caption_attack
from explorer.training.loader import Loader
from explorer.training.objective import Objective
from explorer.training.recipe import Recipe
from explorer.training.schedule import follow, optimiser, rate, set_rate
from explorer.training.student import Shown, student_of

FORMAT = 1


def make_accelerator(cpu: bool = False) -> Any:
    """Hugging Face accelerate's view of the devices and processes. Precision is ours (`recipe`),
    since attacks need it too. cpu: even where there is a GPU."""
    from accelerate import (  # type: ignore[import-untyped]
        Accelerator,
        DistributedDataParallelKwargs,
    )

    # A text tower may hold weights that no caption uses, such as a pooler.
    options = DistributedDataParallelKwargs(find_unused_parameters=True)
    return Accelerator(cpu=cpu, mixed_precision="no", kwargs_handlers=[options])


class Trainer:
    """A model in training. `shown` is the model as it would be kept now, see `refresh`."""

    def __init__(self, recipe: Recipe, base: DualEncoder, data: TrainingSet, accelerator: Any,
                 text_inner: TextInner | None = None) -> None:
        """base: a model that nobody else uses, on the accelerator's device; its weights are
        trained in place. text_inner: in the place of the recipe's own text attack."""
        self.recipe, self.data, self.accelerator = recipe, data, accelerator
        self.base_sum = weights_sum(base.clip)
        self.student = student_of(base)
        self.dtype = _dtype(recipe, base)
        if base.device.type == "cpu":
            speed_up(base.clip, recipe.depthwise_share)
        self.shown = Shown(copy.deepcopy(base.clip), base.tokenize, base.card, base.frame,
                           base.mean.flatten().tolist(), base.std.flatten().tolist(),
                           str(base.device))
        if recipe.attacks_text and text_inner is None:
            text_inner = caption_attack(recipe)
        self.objective = Objective(recipe, self.student, base.tokenize, data.captions.__getitem__,
                                   data.classes, text_inner, self.autocast)
        self.student.train_only(recipe.trained)
        self.student.train(recipe.norm_layers == "train")
        self.model, self.optimiser = accelerator.prepare(
            self.student, optimiser(recipe, self.student))
        rank, count = world()
        self.loader = Loader(data, base.frame, recipe.batch, recipe.seed, recipe.augment, rank,
                             count)
        self.total = recipe.total(len(data))
        self.step = 0
        self.seconds = 0.0
        self._pace: float | None = None
        torch.manual_seed(recipe.seed + rank)  # dropout, where norm_layers is "train"

    def autocast(self) -> AbstractContextManager[Any]:
        if self.dtype is None:
            return nullcontext()
        return torch.autocast(self.accelerator.device.type, self.dtype)

    def steps(self) -> Iterator[TrainingStep]:
        """Trains to the end, yielding after each update. Raises TrainingError when the loss is
        not finite, InputError when too many pictures cannot be read."""
        each = self.recipe.accumulation
        batches = self.loader.batches(self.step * each)
        while self.step < self.total:
            began = time.perf_counter()
            losses = self._update(batches)
            self.step += 1
            took = time.perf_counter() - began
            self.seconds += took
            # The first step warms up; later ones are averaged over about ten.
            first = self._pace is None or self.step <= 2
            self._pace = took if first else 0.9 * self._pace + 0.1 * took  # type: ignore[operator]
            yield TrainingStep(self.step, self.total, losses, self.optimiser.param_groups[0]["lr"],
                       self.recipe.batch * each / took, self._pace * (self.total - self.step),
                       len(self.loader.unreadable))

    def pace(self, steps: int) -> float:
        """Seconds of a step now: of `steps` of them, after one that warms up. Nothing of it stays:
        the run goes on as if they had not been."""
        before, total = copy.deepcopy(self.state()), self.total
        self.total = max(total, self.step + steps + 1)
        ended = [time.perf_counter() for _ in zip(range(steps + 1), self.steps(), strict=False)]
        self.restore(before)
        self.total, self._pace = total, None
        return (ended[-1] - ended[0]) / steps

    def _update(self, batches: Iterator[Batch]) -> dict[str, float]:
        """One update: `accumulation` batches forward and back, then the optimiser."""
        r, sums = self.recipe, dict[str, float]()
        set_rate(self.optimiser.param_groups, rate(self.step, self.total, r.warmup))
        for k in range(r.accumulation):
            batch = self._placed(next(batches))
            last = k == r.accumulation - 1
            with nullcontext() if last else self.accelerator.no_sync(self.model):
                terms = self.objective.terms(batch, self.step, self.model)
                for name, value in self._finite(terms).items():
                    sums[name] = sums.get(name, 0.0) + value / r.accumulation
                loss = torch.stack(list(terms.values())).sum()
                self.accelerator.backward(loss / r.accumulation)
        trained = [p for p in self.student.parameters() if p.requires_grad]
        if r.clip_gradient:
            norm = float(self.accelerator.clip_grad_norm_(trained, r.clip_gradient))
            if not norm < float("inf"):
                raise self._broken("gradient")
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        if "scale" in r.trained:
            self.student.cap_scale()
        if r.ema:
            follow(self.shown.clip, self.student.clip, r.ema, self.step)
        return sums

    def _placed(self, batch: Batch) -> Batch:
        device = self.accelerator.device
        return replace(batch, pixels=batch.pixels.to(device), groups=batch.groups.to(device))

    def _finite(self, terms: dict[str, Tensor]) -> dict[str, float]:
        """The terms as numbers, averaged over the processes; all see it when one is not finite."""
        values = torch.stack([t.detach() for t in terms.values()])
        mean = self.accelerator.reduce(values, "mean")
        if not bool(torch.isfinite(mean).all()):
            raise self._broken("loss")
        return dict(zip(terms, mean.tolist(), strict=True))

    def _broken(self, what: str) -> TrainingError:
        return TrainingError(
            f"the {what} is no longer a finite number at step {self.step + 1}: the checkpoint "
            "before it is kept; start again with a smaller learning rate")

    def refresh(self) -> DualEncoder:
        """The model as it would be kept now: the averaged weights, or the last ones."""
        self.shown.take(None if self.recipe.ema else self.student.clip)
        return self.shown

    # -- checkpoints ---------------------------------------------------------------------------

    def _trained(self, clip: Any) -> dict[str, Tensor]:
        """What training changes, by name."""
        moving = {n for n, p in self.student.clip.named_parameters() if p.requires_grad}
        if self.recipe.norm_layers == "train":
            moving |= {n for n, _ in clip.named_buffers()}
        return {n: v.detach() for n, v in clip.state_dict().items() if n in moving}

    def state(self) -> dict[str, Any]:
        """All that a run needs to go on as if it had not stopped."""
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        return {
            "format": FORMAT, "step": self.step, "total": self.total, "seconds": self.seconds,
            "recipe": self.recipe.as_dict(), "data": self.data.fingerprint, "base": self.base_sum,
            "model": self._trained(self.student.clip),
            "ema": self._trained(self.shown.clip) if self.recipe.ema else {},
            "optimiser": self.optimiser.state_dict(),
            "sampler": {"batches": self.step * self.recipe.accumulation,
                        "unreadable": sorted(self.loader.unreadable)},
            "attacker": self.objective.attacker.state(),
            "rng": {"torch": torch.get_rng_state(), "cuda": cuda},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from `state`. Raises InputError when it belongs to another run."""
        if state.get("format") != FORMAT:
            raise InputError("the checkpoint was written by another version of this program")
        if state["data"] != self.data.fingerprint:
            raise InputError(f"the data set {self.data.name} has changed since the run was "
                             "started, so it cannot go on: start a new run in another folder")
        if state["base"] != self.base_sum:
            raise InputError("the base model has changed since the run was started, so it cannot "
                             "go on: start a new run in another folder")
        if state["recipe"] != self.recipe.as_dict():
            raise InputError("the recipe has changed since the run was started, so it cannot go "
                             "on: start a new run in another folder")
        for clip, part in ((self.student.clip, "model"), (self.shown.clip, "ema")):
            clip.load_state_dict(state[part], strict=False)
        self.optimiser.load_state_dict(state["optimiser"])
        self.objective.attacker.restore(state["attacker"])
        self.step, self.seconds = state["step"], state["seconds"]
        self.loader.unreadable = set(state["sampler"]["unreadable"])
        if world()[0] == 0:
            torch.set_rng_state(state["rng"]["torch"])
            if torch.cuda.is_available() and state["rng"]["cuda"]:
                torch.cuda.set_rng_state_all(state["rng"]["cuda"])


def weights_sum(clip: Any) -> int:
    """A sum of all weights, which tells one model from another."""
    value = 0
    for tensor in clip.state_dict().values():
        raw = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8)
        value = zlib.crc32(raw.numpy().tobytes(), value)
    return value


def _dtype(recipe: Recipe, base: DualEncoder) -> torch.dtype | None:
    if recipe.precision == "fp32":
        return None
    return torch.bfloat16 if recipe.precision == "bf16" else base.fast_dtype
