"""Seconds of PGD on a device by batch and by how the image tower is run: as it is, compiled, and in
CUDA graphs."""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.gpu_checks import timed
from explorer.attacks.image.classic import PGD
from explorer.attacks.run import run
from explorer.data.pairs import Pairs
from explorer.models.encoder import DualEncoder

PLAIN = "plain"
WAYS: dict[str, dict[str, str]] = {  # of torch.compile
    PLAIN: {}, "compiled": {"backend": "inductor"}, "CUDA graphs": {"backend": "cudagraphs"},
    "compiled, CUDA graphs": {"backend": "inductor", "mode": "reduce-overhead"},
    "traced": {"backend": "aot_eager"}}
ON_CUDA = (PLAIN, "compiled", "CUDA graphs", "compiled, CUDA graphs")
ATTACK = PGD(eps=1 / 255, step=1 / 255, steps=10)


@dataclass(frozen=True)
class Time:
    """Of one batch, one way and one precision. seconds: median; first: of the run that compiles;
    success: pictures fooled; fault: why there is no time."""

    batch: int
    way: str
    dtype: str
    seconds: float
    first: float
    success: int
    fault: str = ""


def run_by(model: DualEncoder, way: str) -> DualEncoder:
    """The same model with its image tower run another way."""
    other = copy.copy(model)
    look: Callable[[Tensor], Tensor] = model.clip.encode_image  # type: ignore[assignment]
    other._compiled = torch.compile(look, **WAYS[way]) if WAYS[way] else None  # type: ignore[call-overload]
    return other


def grown(pairs: Pairs, n: int) -> Pairs:
    """n pictures: these, and then these turned by more and more columns."""
    images = torch.cat([pairs.images.roll(k, -1) for k in range(-(-n // len(pairs)))])[:n]
    labels = pairs.labels.repeat(-(-n // len(pairs)))[:n]
    return Pairs(images, pairs.captions, labels)


def times(model: DualEncoder, pairs: Pairs, batches: Sequence[int], ways: Sequence[str],
          repeats: int = 5) -> list[Time]:
    """All of them, in float32 and in the device's fast precision where it has one."""
    found = []
    for batch in batches:
        some = grown(pairs, batch)
        for dtype in dict.fromkeys((None, model.fast_dtype)):
            for way in ways:
                torch._dynamo.reset()
                found.append(_time(model, some, way, dtype, repeats))
    return found


def _time(model: DualEncoder, pairs: Pairs, way: str, dtype: torch.dtype | None, repeats: int,
          ) -> Time:
    named = str(dtype or torch.float32).removeprefix("torch.")
    ours = run_by(model, way)
    ours.fast_dtype = dtype
    try:
        result, first = timed(lambda: run(ATTACK, ours, pairs), model.device)
        taken = [timed(lambda: run(ATTACK, ours, pairs), model.device)[1] for _ in range(repeats)]
    except Exception as error:  # noqa: BLE001 -- a compiler may fail in any way: that is the finding
        why = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:100]}"
        return Time(len(pairs), way, named, 0.0, 0.0, 0, why)
    return Time(len(pairs), way, named, statistics.median(taken), first,
                int(result.success.sum()))
