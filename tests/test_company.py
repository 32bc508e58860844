"""Others for a caption that is alone, and what is said where none fits or the answer is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from helpers import CAPTIONS, grid_images

from explorer.actions import company
from explorer.actions.attack import attack_both
from explorer.actions.company import accompany, finished, whole
from explorer.analysis.company import ALIKE, CROWD, NEAREST, OTHERS, fit, others
from explorer.analysis.embedding.landmarks import concepts, sentences
from explorer.attacks.image.classic import PGD
from explorer.attacks.language.encoder import sentence_encoder
from explorer.attacks.request import Request
from explorer.data.pairs import to_image
from explorer.models.encoder import DualEncoder
from explorer.models.library import Library
from explorer.results.saving import as_dict
from explorer.results.stage import draw
from explorer.ui.attack.captions import joined, take


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPLORER_CACHE", str(tmp_path))


def rows(*firsts: float) -> np.ndarray:
    """Unit rows (n, 2) with these cosines to (1, 0)."""
    return np.array([(c, (1 - c * c) ** 0.5) for c in firsts])


PHOTO = np.array([1.0, 0.0])


def test_others_are_the_nearest_that_say_something_else() -> None:
    near = rows(0.1, 0.9, 0.2, 0.8, 0.3, 0.7, 0.4, 0.6)
    alike = np.array([0, ALIKE, 0, ALIKE - 0.01, 0, 0.9, 0, 0])
    assert others(PHOTO, near, alike) == [3, 7, 6, 4, 2] and OTHERS == 5
    assert others(PHOTO, near, np.ones(8)) == []
    assert others(PHOTO, rows(*[0.5] * 8), np.zeros(8)) == [0, 1, 2, 3, 4], "ties as listed"


@pytest.mark.parametrize(("best", "closer", "fits"), [(0.55, 4, False), (0.95, 0, True),
                                                      (0.85, 1, True), (0.75, 2, False)])
def test_a_caption_fits_where_few_landmarks_are_nearer(best: float, closer: int, fits: bool,
                                                       ) -> None:
    """Of ten; the best of the captions counts."""
    found = fit(PHOTO, rows(0.01, best), rows(0.9, 0.8, 0.7, 0.6, *[0.1] * 6), "abcdefghij")
    assert (found.closer, found.of, found.fits) == (closer, 10, fits) and CROWD == 0.1
    assert found.nearest == tuple("abc"[:NEAREST])


def lone(caption: str = "a man in a suit", **more: Any) -> Request:
    picture = to_image(grid_images(1, 32)[0])
    return Request((picture,), (caption,), (0,), PGD(eps=8 / 255, steps=2), models=("plain",),
                   **more)


def test_a_lone_caption_is_joined_by_sentences_that_say_something_else(
        two: Library, tiny: DualEncoder) -> None:
    """By the rule, of the model's own cosines; the same each time."""
    asked = whole(accompany(two, lone().checked()))
    more = asked.captions[1:]
    assert asked.captions[0] == "a man in a suit" and asked.added == len(more) == OTHERS
    assert set(more) <= set(sentences()) and whole(accompany(two, lone().checked())).captions == (
        asked.captions)
    assert asked.true == (0,)
    alike = sentence_encoder().similarity([asked.captions[0]] * OTHERS, more)
    assert float(alike.max()) < ALIKE
    photo = tiny.encode_image(grid_images(1, 32))[0]
    near = tiny.encode_text(list(more)) @ photo
    assert bool((near[:-1] >= near[1:] - 1e-3).all()), "the nearest first, but for half precision"
    same = whole(accompany(two, lone(sentences()[3]).checked()))
    assert len(set(same.captions)) == 1 + OTHERS, "a landmark sentence does not meet itself"


@pytest.mark.parametrize("asked", [
    replace(lone(), captions=CAPTIONS), replace(lone(), target="a dog"),
    lone(goal="similarity"), lone(goal="embedding")])
def test_nothing_is_added_where_there_is_a_wrong_answer_or_none_is_asked(
        two: Library, asked: Request) -> None:
    checked = asked.checked()
    assert whole(accompany(two, checked)) is checked
    assert finished(two, asked.checked())[1]["plain"].captions == checked.captions


@pytest.fixture
def landmarks(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """What the models make of the landmarks, as the test wants it."""
    made: dict[str, Any] = {}

    def known(model: DualEncoder, captions: tuple[str, ...]) -> np.ndarray | None:
        return made["at"](captions) if made else None

    monkeypatch.setattr(company, "known_landmarks", known)
    yield made


def test_no_caption_fits(two: Library, landmarks: dict[str, Any], tiny: DualEncoder) -> None:
    """All landmarks lie at the photo, the three nearest first: it is said, and offered."""
    photo = tiny.encode_image(grid_images(1, 32))[0].numpy()
    near = (sentences()[7], sentences()[2], "a photo of a electric ray")
    best = (*near[:2], "a photo of an electric ray")

    def at(captions: tuple[str, ...]) -> np.ndarray:
        size = [1 + 3 - near.index(c) if c in near else 1.0 for c in captions]
        return np.outer(size, photo)

    landmarks["at"] = at
    asked, results = finished(two, replace(lone(), captions=CAPTIONS).checked())
    result = results["plain"]
    assert result.suggestions == best and asked.added == 0
    (said,) = (note for note in result.notes if "None of your captions fits" in note)
    total = len(concepts()) + len(sentences())
    assert f"{total:,} of {total:,} landmarks" in said and all(f"“{c}”" in said for c in best)
    assert as_dict(result)["suggestions"] == list(best) and said in as_dict(result)["notes"]


def test_a_caption_that_fits_and_is_answered_is_left_in_peace(
        two: Library, landmarks: dict[str, Any], tiny: DualEncoder) -> None:
    photo = tiny.encode_image(grid_images(1, 32))[0].numpy()
    landmarks["at"] = lambda captions: np.outer(np.full(len(captions), -1.0), photo)
    asked = replace(lone(), captions=CAPTIONS)
    right = int(finished(two, asked.checked())[1]["plain"].clean.prediction[0])
    result = finished(two, replace(asked, true=(right,)).checked())[1]["plain"]
    assert result.suggestions == () and not result.notes


def test_a_wrong_answer_is_told_what_to_try(two: Library) -> None:
    """With the captions that would fit, read for the purpose; not where nobody asks for an
    answer."""
    asked = replace(lone(), captions=CAPTIONS)
    said = int(finished(two, asked.checked())[1]["plain"].clean.prediction[0])
    wrong = replace(asked, true=((said + 1) % len(CAPTIONS),))
    result = finished(two, wrong.checked())[1]["plain"]
    assert any("Try other words" in note for note in result.notes)
    assert len(result.suggestions) == NEAREST
    assert not finished(two, replace(wrong, goal="similarity").checked())[1]["plain"].notes


def test_the_embedded_pair_says_what_it_reads() -> None:
    said = company._advice("pocket")
    assert said.startswith("pocket is a small model") and "hub" in said and "other words" in said
    assert company._advice("ViT-B-32") != said


def test_the_tab_shows_what_was_added_and_takes_a_suggestion_over(two: Library) -> None:
    *_, last = attack_both(two, replace(lone(), models=("plain", "hard")))
    outcome = last.outcome
    first = outcome.parts[0].result
    text = joined("a man in a suit", outcome)
    assert text.splitlines() == list(first.captions) and len(first.captions) == 1 + OTHERS
    assert joined("a man in a coat", outcome) == "" and joined(text, outcome) == ""
    assert "You gave one caption, so 5 everyday sentences were added" in draw(outcome)
    offered = first.suggestions or ("a <dog>",)
    outcome.parts[0].result = replace(first, suggestions=offered)
    page = draw(outcome)
    assert page.count("data-take") >= len(offered)
    outcome.parts[0].live = outcome.parts[1].live = False
    assert "data-take" not in draw(outcome), "a page without the app has no such buttons"
    event = cast(Any, SimpleNamespace(_data={"caption": offered[0]}))
    typed, listed, true, target, said = take(event, text)
    assert typed.splitlines()[0] == listed[0] == true["value"] == offered[0]
    assert "a man in a suit" in listed and target["choices"][1:] == listed and "Attack" in said
    assert take(event, typed)[0] == typed, "twice is once"


def test_the_bare_library_still_wants_a_wrong_answer(two: Library) -> None:
    """`run` adds nothing of its own."""
    from explorer.attacks.run import run
    from explorer.base.errors import InputError
    from explorer.data.pairs import Pairs

    with pytest.raises(InputError, match="one caption"):
        run(PGD(), two.load("plain"), Pairs(grid_images(1, 32), ("a cat",), torch.tensor([0])))
