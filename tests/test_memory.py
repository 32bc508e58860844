"""Memory that runs out: batches halve, the job goes on, and else a sentence is said."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers import CAPTIONS, grid_images
from torch import Tensor, nn

from explorer.attacks.image.classic import APGDDLR, PGD
from explorer.attacks.image.stepping import Step
from explorer.attacks.run import drain, run, stream
from explorer.base.errors import InputError
from explorer.base.memory import CALM, OutOfMemoryError, Room, out_of_memory
from explorer.base.settings import Settings, current
from explorer.data.pairs import Pairs
from explorer.models.encoder import DualEncoder
from explorer.models.fast.padding import read
from explorer.server.gate import Gate

TOLD = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes. Error code 12"


class Small(DualEncoder):
    """A model whose device holds so many pictures, fewer of them where a gradient is wanted. Each
    is read alone, so that the size of a batch changes no bit. asked: the sizes that came."""

    def __init__(self, model: DualEncoder, looks: int, climbs: int) -> None:
        self.__dict__.update(model.__dict__)
        for name in ("image_room", "attack_room", "text_room"):
            self.__dict__.pop(name, None)  # what the other has learned
        self.limits, self.asked = {True: climbs, False: looks}, list[int]()

    def _image_features(self, pixels: Tensor, fast: bool) -> Tensor:
        self.asked.append(len(pixels))
        if len(pixels) > self.limits[pixels.requires_grad]:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return torch.cat([super(Small, self)._image_features(p[None], fast) for p in pixels])

    def _text_features(self, tokens: Tensor, fast: bool) -> Tensor:
        return torch.cat([super(Small, self)._text_features(t[None], fast) for t in tokens])


@pytest.fixture
def seven() -> Pairs:
    return Pairs(grid_images(7, 32), CAPTIONS, torch.tensor([0, 1, 2, 3, 0, 1, 2]))


@pytest.mark.parametrize("attack", [PGD(eps=4 / 255, steps=3, restarts=2),
                                    APGDDLR(eps=4 / 255, steps=5)])
@pytest.mark.parametrize("goal", ["classification", "embedding"])
def test_an_attack_goes_on_with_smaller_batches(attack: Any, goal: str, tiny: DualEncoder,
                                                seven: Pairs) -> None:
    whole = run(attack, Small(tiny, 99, 99), seven, goal, seed=3, record=True)
    small = Small(tiny, looks=4, climbs=2)
    events = list(stream(attack, small, seven, goal, seed=3, record=True))
    found = drain(iter(events))
    assert torch.equal(found.adversarial_images, whole.adversarial_images)
    assert torch.equal(found.success, whole.success) and found.queries == whole.queries
    assert found.frames is not None and whole.frames is not None
    assert torch.equal(found.frames, whole.frames) and found.frame_steps == whole.frame_steps
    steps = [e.index for e in events if isinstance(e, Step)]
    assert steps == sorted(steps) and steps[-1] == attack.total, "progress only goes on"
    assert small.attack_room.most == 1 and max(small.asked) == 7, "7, 3, then 1 fit, never 2 of 3"


def test_the_size_that_fits_is_remembered(tiny: DualEncoder, seven: Pairs) -> None:
    small = Small(tiny, looks=99, climbs=3)
    run(PGD(steps=2), small, seven)
    small.asked.clear()
    run(PGD(steps=2), small, seven)
    with_gradients = [n for n in small.asked if n != 7]  # whole batches are only looked at
    assert with_gradients and max(with_gradients) == 3


def test_one_picture_too_many_is_said(tiny: DualEncoder, seven: Pairs) -> None:
    with pytest.raises(InputError, match="the device ran out of memory: use a smaller model"):
        run(PGD(steps=2), Small(tiny, looks=9, climbs=0), seven)
    gate = Gate(Settings(at_once=1))
    visitor = SimpleNamespace(headers={}, session_hash="a")
    with pytest.raises(InputError, match="ran out of memory"):
        list(gate.pages(visitor, lambda: stream(PGD(steps=2), Small(tiny, 9, 0), seven),
                        lambda before: before))
    counted = gate.meters.registry.get_sample_value
    assert counted("explorer_runs_total", {"end": "failed"}) == 1
    assert counted("explorer_errors_total", {"kind": "OutOfMemoryError"}) == 1


def test_captions_are_read_in_parts_too(tiny: DualEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"a caption of {n} words" for n in range(9)]
    expected = tiny.encode_text(texts)
    sizes = []

    def narrow(clip: nn.Module, tokens: Tensor) -> Tensor:
        sizes.append(len(tokens))
        if len(tokens) > 2:
            raise RuntimeError(TOLD)
        return read(clip, tokens)

    small = Small(tiny, 9, 9)
    small.__dict__["_texts"] = type(tiny._texts)()
    monkeypatch.setattr("explorer.models.encoder.read", narrow)
    found = DualEncoder._text_features(small, tiny.tokenize(texts), False)
    assert torch.allclose(found, expected, atol=1e-6) and sizes[0] == 9 and max(sizes[3:]) <= 2


@pytest.mark.parametrize(("error", "memory"), [
    (MemoryError(), True), (RuntimeError(TOLD), True), (RuntimeError("not enough memory: 9"), True),
    (torch.OutOfMemoryError("CUDA out of memory."), True), (OutOfMemoryError(), True),
    (RuntimeError("shapes do not match"), False), (ValueError("out of memory"), False),
    (InputError("out of memory"), False)])
def test_memory_is_told_from_other_faults(error: Exception, memory: bool) -> None:
    assert out_of_memory(error) is memory


def failing(sizes: list[int], limit: int, error: Exception) -> Any:
    def work(rows: slice) -> Generator[int, None, Tensor]:
        sizes.append(rows.stop - rows.start)
        yield sizes[-1]
        if sizes[-1] > limit:
            raise error
        return torch.arange(rows.start, rows.stop)

    return work


def joined(steps: Generator[int, None, Tensor]) -> Tensor:
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            result: Tensor = stop.value
            return result


def test_other_faults_are_passed_on_and_a_likely_one_is_tried_smaller() -> None:
    sizes: list[int] = []
    with pytest.raises(RuntimeError, match="shapes"):
        joined(Room().spread(8, failing(sizes, 1, RuntimeError("shapes do not match"))))
    assert sizes == [8]
    likely = RuntimeError("could not create a primitive")
    assert joined(Room().spread(8, failing([], 2, likely))).tolist() == list(range(8))
    with pytest.raises(RuntimeError, match="primitive"):  # with one row it is no want of memory
        joined(Room().spread(8, failing([], 0, likely)))


def test_more_is_tried_again_after_a_while() -> None:
    room, sizes = Room(), list[int]()
    for _ in range(CALM):
        assert joined(room.spread(4, failing(sizes, 2, MemoryError()))).tolist() == [0, 1, 2, 3]
    assert sizes[:3] == [4, 2, 2] and sizes.count(4) == 2, "once at first, and once after CALM"
    assert joined(room.spread(0, failing([], 0, MemoryError()))).tolist() == []


def test_the_limit_of_the_settings_holds(tiny: DualEncoder, seven: Pairs,
                                         monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPLORER_BATCH", "3")
    current.cache_clear()
    try:
        small = Small(tiny, looks=99, climbs=99)
        for _ in range(CALM):
            run(PGD(steps=1), small, seven)
    finally:
        monkeypatch.undo()
        current.cache_clear()
    assert max(small.asked) == 3


def test_closing_stops_the_work() -> None:
    ended: list[str] = []

    def work(rows: slice) -> Generator[int, None, Tensor]:
        try:
            yield 1
            return torch.zeros(1)
        finally:
            ended.append("ended")

    steps = Room().spread(3, work)
    next(steps)
    steps.close()
    assert ended == ["ended"]


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS and /proc are Linux")
def test_an_attack_in_a_process_without_memory() -> None:
    """The real allocator, oneDNN included, with less memory than the batch asks for."""
    here = Path(__file__).resolve().parent
    command: Sequence[str] = (sys.executable, str(here / "memory_child.py"), "32", "300000000")
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False, env={
        **os.environ, "PYTHONPATH": str(here.parent), "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-2000:]
    images, climbs, _ = done.stdout.split()
    assert images == "32" and climbs != "None" and int(climbs) < 32
