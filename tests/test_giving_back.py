"""What the server keeps in memory: bounded, shown, and given back; a long day judged."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from helpers import CAPTIONS, grid_images
from torch import Tensor
from training_helpers import tiny_model

from bench.soak_report import Soak, page
from explorer.analysis.embedding.shift import LANDMARK, Anchors
from explorer.analysis.embedding.state import KEEP, Spaces
from explorer.attacks.image.classic import PGD
from explorer.attacks.run import run
from explorer.base import heap
from explorer.base.settings import Settings
from explorer.data.pairs import Pairs
from explorer.models.encoder import SEEN, DualEncoder
from explorer.models.library import Library
from explorer.server import keeping
from explorer.server.gate import Gate
from explorer.server.keeping import Keeping

ROOT = Path(__file__).resolve().parent.parent
GLIBC = pytest.mark.skipif(heap._libc() is None, reason="only glibc tells what it keeps")
CHILD = """
from explorer.base.heap import free_bytes, give_back
from explorer.models.fast.convolution import keep_memory
from explorer.server.metrics import memory_bytes
import torch
keep_memory()
held = [torch.ones(1 << 20) for _ in range(100)]
last = torch.ones(1 << 10)
before = memory_bytes()
del held
freed, free = memory_bytes(), free_bytes()
give_back()
print(before, freed, free, memory_bytes())
"""


@GLIBC
def test_freed_memory_is_held_seen_and_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", CHILD], cwd=ROOT, capture_output=True, text=True,
                          timeout=600, check=True)
    before, freed, free, after = map(int, done.stdout.split())
    assert before - freed < 50e6 and free > 350e6 and before - after > 350e6


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """Memory as the test says; given: how often it was given back, which takes it to 1 GB."""
    now = SimpleNamespace(bytes=1 << 30, given=0)

    def back() -> None:
        now.given, now.bytes = now.given + 1, 1 << 30

    monkeypatch.setattr(keeping, "memory_bytes", lambda: now.bytes)
    monkeypatch.setattr(heap, "give_back", back)
    yield now


def test_memory_goes_back_when_nothing_has_run_for_two_looks(memory: SimpleNamespace) -> None:
    gate, dropped = Gate(Settings(at_once=1)), []
    kept = Keeping(gate)
    kept.holds("things", lambda: 77, lambda: dropped.append(1))
    memory.bytes += 200 << 20
    busy: Any = SimpleNamespace(running=lambda: 1, waiting=lambda: 0)
    quiet, gate.turns = gate.turns, busy
    assert [kept.look(), kept.look(), kept.look()] == [False] * 3 and not dropped
    memory.bytes += keeping.MUCH  # so much that it cannot wait
    assert kept.look() and memory.given == 1 and not dropped
    gate.turns, memory.bytes = quiet, memory.bytes + (200 << 20)
    assert [kept.look(), kept.look(), kept.look()] == [False, True, False]
    assert memory.given == 2 and dropped == [1]  # once in a pause
    assert b'explorer_kept_bytes{what="things"} 77.0' in gate.meters.text()
    assert b'explorer_kept_bytes{what="freed"}' in gate.meters.text()


class Model(SimpleNamespace):
    """As much of a model as a library looks at."""

    def settle(self) -> Model:
        return self

    def forget_features(self) -> None:
        self.features_bytes = 0


def test_models_that_nobody_asks_for_go_but_the_pages_own_stay(
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("explorer.models.loaders.open_model",
                        lambda card, device: Model(weights_bytes=100, features_bytes=10))
    clock = [0.0]
    monkeypatch.setattr("explorer.models.library.time.monotonic", lambda: clock[0])
    library = Library()
    names = list(library.cards())[:3]
    for name in names:
        library.load(name)
    assert (library.weights_bytes(), library.features_bytes()) == (300, 30)
    clock[0] = 800.0
    library.load(names[2])
    clock[0] = 1000.0
    assert library.rest(names[:1]) == [names[1]] and library.loaded() == [names[0], names[2]]
    assert (library.weights_bytes(), library.features_bytes()) == (200, 10)
    clock[0] = 1800.0
    assert library.rest() == [names[0], names[2]] and not library.loaded()
    assert library.load(names[0]).weights_bytes == 100  # opened again


def test_clean_points_are_kept_for_so_many_models() -> None:
    import numpy as np

    spaces = Spaces(cast(Library, SimpleNamespace()), {})
    for k in range(KEEP + 3):
        spaces._keep(f"m{k}", Anchors(f"m{k}", ("landmark:0",), ("a",), (LANDMARK,),
                                      np.ones((1, 4), np.float32)))
    assert len(spaces.base) == KEEP and "m2" not in spaces.base and "m3" in spaces.base
    assert spaces.kept_bytes() == KEEP * 16


def soak(levels: Sequence[float], **values: Any) -> Soak:
    """A day of 10 minutes, a level each."""
    given: dict[str, Any] = {"visits": {"attack": 3}, "errors": {}, "kept": {"maps": 5.0}, **values}
    return Soak("m", 10, 3, [(60.0 * k + 30, level) for k, level in enumerate(levels)], **given)


def test_a_day_is_flat_or_not() -> None:
    assert soak([800, *[1000.0] * 9]).flat  # filled at first
    assert soak([800, *[1000.0, 1200.0] * 4, 1000]).flat  # up and down
    assert not soak([1000.0 + 20 * k for k in range(10)]).flat
    assert not soak([1000.0] * 7 + [1100.0] * 3).flat
    assert not soak([]).flat
    told = page(soak([1000] * 10, errors={"learn: PageError": 2}))
    assert "+0.0%" in told and "| errors | 2 | 0 |" in told and "2 x learn: PageError" in told
    assert "attack 3" in told and "maps 5 MB" in told and "1,000 MB | 2,500 MB" in told


def test_features_of_a_batch_are_remembered_to_the_bit_until_anything_changes() -> None:
    model, images = tiny_model(), grid_images(3, 32)
    asked: list[int] = []
    first = model.look_again(images)
    assert torch.equal(first, model.encode_image(images).detach())
    read = DualEncoder._image_features

    def counted(self: DualEncoder, pixels: Tensor, fast: bool) -> Tensor:
        asked.append(len(pixels))
        return read(self, pixels, fast)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DualEncoder, "_image_features", counted)
        again = model.look_again(images.clone())
        assert not asked and torch.equal(again, first)
        again.zero_()  # a caller's own
        assert torch.equal(model.look_again(images), first) and not asked
        assert torch.equal(model.look_again(images[:2]), model.encode_image(images[:2]))
        assert asked == [2, 2]  # another batch is read: its bits may differ
        other = copy.copy(model)
        other.look_again(images)
        assert asked == [2, 2, 3]  # another object, such as one behind a defence
        with torch.no_grad():
            next(model.clip.visual.parameters()).add_(0.5)  # type: ignore[union-attr]
        assert not torch.equal(model.look_again(images), first) and asked[3:] == [3]
        for k in range(SEEN + 5):
            model.look_again(grid_images(1, 32, k))
        assert len(model._seen) == SEEN
        assert model.features_bytes == (SEEN + len(model._texts)) * model.dim * 4
        model.forget_features()
        assert model.features_bytes == 0


def test_an_attack_on_a_picture_read_before_is_the_same_to_the_bit() -> None:
    model, images = tiny_model(), grid_images(3, 32)
    pairs = Pairs(images, CAPTIONS, torch.tensor([0, 1, 2]))
    found = [run(PGD(8 / 255), model, pairs, seed=2) for _ in range(2)]
    model.forget_features()
    found.append(run(PGD(8 / 255), model, pairs, seed=2))
    for other in found[1:]:
        assert torch.equal(found[0].adversarial_images, other.adversarial_images)
        assert torch.equal(found[0].clean.features, other.clean.features)
        assert torch.equal(found[0].success, other.success)
