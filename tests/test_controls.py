"""Harmless changes beside an attack: by hand, and on the page."""

from __future__ import annotations

import pytest
import torch
from attack_helpers import build
from helpers import CAPTIONS, grid_images

from explorer.analysis.controls import brighter, changes, harmless, on_grid, shifted
from explorer.attacks.run import run
from explorer.data.pairs import Pairs
from explorer.models.encoder import DualEncoder
from explorer.results.compare import controls
from explorer.results.outcome import Outcome, Part


def test_by_hand() -> None:
    x = torch.tensor([[0.0, 100, 250, 255]]).expand(1, 3, 1, 4) / 255
    assert (shifted(x)[0, 0, 0] * 255).round().tolist() == [0, 0, 100, 250]
    assert (brighter(x, 10)[0, 0, 0] * 255).round().tolist() == [10, 110, 255, 255]


@pytest.mark.parametrize("spent", [0.0, 0.3, 1.5, 8.0])
def test_the_distance_is_near_that_of_the_attack(spent: float) -> None:
    clean = grid_images(1, 64, seed=3, low=60, high=180)
    made = dict(changes(clean, spent))
    assert len(made) == 4 and "moved by a pixel" in made
    for picture in made.values():
        assert picture.shape == clean.shape and torch.equal(on_grid(picture), picture)
    far = {name: float((picture - clean).norm()) for name, picture in made.items()}
    (bright,) = (d for name, d in far.items() if name.startswith("brighter"))
    one = (clean.numel() ** 0.5) / 255  # a grey level in every value
    assert abs(bright - max(spent, one)) <= one / 2 + 1e-4
    stronger = dict(changes(clean, spent + 10))
    for kind in ("JPEG", "blur"):
        low, high = (next(float((p - clean).norm()) for n, p in found.items() if
                          n.startswith(kind)) for found in (made, stronger))
        assert low <= high


@pytest.mark.parametrize("size", [(1, 1), (3000, 20)])
def test_odd_photos(size: tuple[int, int]) -> None:
    clean = on_grid(torch.rand((1, 3, *size), generator=torch.Generator().manual_seed(0)))
    assert all(p.shape == clean.shape and 0 <= float(p.min()) <= float(p.max()) <= 1
               for _, p in changes(clean, 1.0))


def test_what_the_model_says(tiny: DualEncoder, four: Pairs) -> None:
    one = Pairs(four.images[:1], CAPTIONS, four.labels[:1])
    result = run(build("pgd", "linf"), tiny, one)
    found = harmless(tiny, result)
    made = dict(changes(result.images[:1], float(result.l2[0])))
    assert [c.name for c in found] == list(made)
    text = tiny.encode_text(CAPTIONS)
    with torch.no_grad():
        for control in found:
            cosines = (tiny.encode_image(made[control.name]) @ text.T)[0]
            assert control.answer == CAPTIONS[int(cosines.argmax())]
            assert control.changed == (int(cosines.argmax()) != int(result.clean.prediction[0]))
            p = float(torch.softmax(tiny.scale * cosines, 0).max())
            assert control.probability == pytest.approx(p, abs=1e-4)
    page = controls(Outcome("a photo", [Part(tiny.card, result, harmless=found)]))
    assert page.count("<td class") == 4
    assert f"changes in {sum(c.changed for c in found)} of 4" in page
    assert controls(Outcome("a photo", [Part(tiny.card, result)])) == ""
