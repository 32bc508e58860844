"""The strip "Try a defence" without a browser: what is tried, what is drawn, what is said."""

from __future__ import annotations

from typing import cast

import pytest
from attack_helpers import build
from helpers import CAPTIONS
from PIL import Image

from explorer.attacks.defences.guard import run_against
from explorer.attacks.defences.model import Defended
from explorer.attacks.defences.pixels import Blur
from explorer.attacks.defences.registry import DEFENCES
from explorer.attacks.result import Result
from explorer.attacks.run import run
from explorer.attacks.text.classic import TEXT_ATTACKS
from explorer.base.errors import InputError
from explorer.base.progress import Progress
from explorer.data.pairs import Pairs, one_pair
from explorer.models.encoder import DualEncoder
from explorer.models.library import Library
from explorer.results.outcome import Outcome, Part
from explorer.ui.attack.defend import Bench, draw_bench, know, offer, story, try_all


@pytest.fixture
def outcome(tiny: DualEncoder, four: Pairs) -> Outcome:
    one = Pairs(four.images[:1], CAPTIONS, four.labels[:1])
    return Outcome("a photo", [Part(tiny.card, run(build("pgd", "linf"), tiny, one))])


@pytest.fixture
def models(tiny: DualEncoder) -> Library:
    class One:
        def load(self, _: str) -> DualEncoder:
            return tiny

    return cast(Library, One())


def test_all_are_tried_and_drawn(models: Library, outcome: Outcome) -> None:
    events = list(try_all(models, outcome))
    benches = [e for e in events if isinstance(e, Bench)]
    assert [len(b.tried) for b in benches] == list(range(1, 12))
    assert [e.done for e in events if isinstance(e, Progress)] == list(range(11))
    assert set(benches[-1].tried) == set(DEFENCES)
    page = draw_bench(benches[-1], outcome)
    assert page.count("<tr>") == 12 and page.count("data-defend=\"know\"") == 11
    for name in DEFENCES:
        opened = draw_bench(Bench(benches[-1].tried, {}, name), outcome)
        assert "<img " in opened and "Source: " in opened and 'alt=""' not in opened
    kept: list[bytes] = []
    drawn = draw_bench(Bench(benches[-1].tried, {}, "blur"), outcome,
                       lambda raw, mime: kept.append(raw) or "/kept/x")  # type: ignore[func-returns-value]
    assert 'src="/kept/x"' in drawn and kept[0].startswith(b"\x89PNG")
    assert "<td>3 forward" not in page and "<td>4 forward, 2 backward</td>" in page  # TTC's
    assert page.count(" s</span></td>") == 11


@pytest.mark.parametrize("size", [(1, 1), (3000, 20), (20, 3000)])
def test_photos_of_odd_sizes(models: Library, tiny: DualEncoder, size: tuple[int, int]) -> None:
    """Every defence reads them, and its picture is drawn."""
    photo = Image.effect_noise(size, 90).convert("RGB")
    result = run(build("pgd", "linf"), tiny, one_pair(photo, CAPTIONS, 0, tiny.frame))
    odd = Outcome("a photo", [Part(tiny.card, result)])
    *_, bench = try_all(models, odd)
    assert isinstance(bench, Bench) and set(bench.tried) == set(DEFENCES)
    for name in DEFENCES:
        drawn = draw_bench(Bench(bench.tried, {}, name), odd, lambda raw, mime: "/kept")
        assert "<img " in drawn and "nan" not in drawn
    *_, known = know(models, odd, bench, "jpeg")
    assert isinstance(known, Bench) and known.known["jpeg"]


def test_the_attacker_who_knows(models: Library, outcome: Outcome) -> None:
    *_, bench = try_all(models, outcome)
    assert isinstance(bench, Bench)
    *steps, known = know(models, outcome, bench, "jpeg")
    assert isinstance(known, Bench) and all(isinstance(s, Progress) for s in steps)
    (result,) = known.known["jpeg"].values()
    assert isinstance(result, Result) and result.aware and known.opened == "jpeg"
    assert int(result.linf_255[0]) <= 4
    assert "an attacker who knows of it" in draw_bench(known, outcome)
    with pytest.raises(InputError, match="try the defences first"):
        list(know(models, outcome, Bench(), "jpeg"))


def test_what_cannot_be_defended(models: Library, tiny: DualEncoder, four: Pairs) -> None:
    with pytest.raises(InputError, match="run an attack first"):
        list(try_all(models, None))
    words = run(TEXT_ATTACKS["typo"](), tiny, four)
    with pytest.raises(InputError, match="leaves the photo alone"):
        list(try_all(models, Outcome("a photo", [Part(tiny.card, words)])))
    behind = run_against(build("pgd", "linf"), Defended(tiny, Blur()), four)
    with pytest.raises(InputError, match="behind a defence already"):
        list(try_all(models, Outcome("a photo", [Part(tiny.card, behind)])))


def test_the_sentences() -> None:
    assert story("JPEG", "fooled", "held") == "JPEG undid the attack."
    assert story("JPEG", "fooled", "held", "fooled") == (
        "JPEG undid the attack; an attacker who knows of it wins again, within the same budget.")
    assert "did not help" in story("JPEG", "fooled", "fooled", "fooled")
    assert "A stronger one may" in story("JPEG", "fooled", "held", "held")
    assert "leaves a model that held as it was" in story("JPEG", "held", "held")
    assert "breaks a model" in story("JPEG", "held", "fooled")
    assert 'data-defend="all"' in offer()
