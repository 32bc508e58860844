"""The Attack tab without a browser: requests, forms and drawn pages."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import gradio as gr
import pytest
import torch

from explorer.attacks.image import IMAGE_ATTACKS, PGD
from explorer.errors import InputError
from explorer.models import Library
from explorer.ui.attack_tab import AttackTab, Tickets
from explorer.ui.compare import _carried
from explorer.ui.examples import FOLDER, load_examples, strip
from explorer.ui.forms import AttackForm, own_fields, read
from explorer.ui.outcome import Outcome
from explorer.ui.session import ANY_WRONG, Progress, Request, attack_both, check
from explorer.ui.stage import draw

CAPTIONS = ("a cat", "a dog", "a red car")


def request(**changes: Any) -> Request:
    base = Request(str(FOLDER / "cat.jpg"), CAPTIONS, "a cat", ANY_WRONG, "classification",
                   PGD(eps=2 / 255, steps=3), ("plain", "hard"), 0)
    return replace(base, **changes)


def test_a_run_yields_each_step_and_a_full_page(two: Library) -> None:
    events = list(attack_both(two, request()))
    steps = [(e.done, e.total) for e in events if e.total]
    assert steps == [(1, 3), (2, 3), (3, 3)] * 2
    last = events[-1]
    assert last.text == "Done." and isinstance(last.outcome, Outcome)
    page = draw(last.outcome)
    assert page.count('class="rx-say"') == 2 and page.count("rx-noise") == 2
    assert len(last.outcome.grid) == 4 and page.count("made on") == 2
    assert "Smallest ε" in page or "No ε up to" in page or "before any change" in page


def test_the_same_model_reads_its_transfers_as_its_own(two: Library) -> None:
    outcome = list(attack_both(two, request()))[-1].outcome
    assert outcome is not None
    for (made, _), (result, clean, after) in outcome.grid.items():
        assert result is outcome.parts[made].result
        assert clean.prediction.equal(result.clean.prediction)
        assert after.prediction.equal(result.adversarial.prediction)


@pytest.mark.parametrize(("was", "now", "target", "word"), [
    (0, 1, None, "fooled"), (0, 0, None, "held"), (1, 1, None, "wrong before"),
    (0, 1, 1, "fooled"), (0, 2, 1, "changed"), (0, 0, 1, "held"), (2, 1, 1, "wrong before"),
])
def test_the_word_in_the_transfer_grid(was: int, now: int, target: int | None, word: str) -> None:
    result = SimpleNamespace(
        labels=torch.tensor([0]), targets=None if target is None else torch.tensor([target]))
    clean = SimpleNamespace(prediction=torch.tensor([was]))
    assert _carried(cast(Any, result), cast(Any, clean), now) == word


def test_stopping_the_run_stops_the_attack(two: Library) -> None:
    events = attack_both(two, request(attack=PGD(steps=200)))
    for event in events:
        if isinstance(event, Progress) and event.done == 2:
            break
    cast(Any, events).close()
    assert list(events) == []


def test_a_new_target_joins_the_captions() -> None:
    captions, true, target = check(request(target="  a blue   bird "))
    assert captions == (*CAPTIONS, "a blue bird") and (true, target) == (0, 3)
    assert check(request(target="a dog"))[2] == 1
    assert check(request(target="")) == (CAPTIONS, 0, None)


@pytest.mark.parametrize(("changes", "words"), [
    ({"photo": None}, "choose a photo"),
    ({"captions": ()}, "at least one caption"),
    ({"captions": ("a cat", "a cat")}, "are the same"),
    ({"captions": ("a cat",)}, "no wrong answer"),
    ({"true": "a lion"}, "mark one of the captions"),
    ({"target": "a cat"}, "the true caption already"),
    ({"photo": "/nowhere/x.png"}, "cannot read"),
])
def test_bad_requests_get_one_sentence(
    two: Library, changes: dict[str, Any], words: str,
) -> None:
    with pytest.raises(InputError, match=words):
        list(attack_both(two, request(**changes)))


def defaults(form: AttackForm) -> list[Any]:
    controls = [cast(Any, c) for name in form.names for c in form.own[name]]
    return [c.value for c in controls]


@pytest.mark.parametrize("name", list(IMAGE_ATTACKS))
def test_a_form_builds_each_attack_with_its_defaults(name: str) -> None:
    with gr.Blocks():
        form = AttackForm()
    values = [name, "linf", 1.0, *defaults(form)]
    built = form.build(2, list(values))
    kind = IMAGE_ATTACKS[name]
    settings: dict[str, Any] = {f.name: f.default for f in own_fields(kind)}
    assert built == kind(eps=2 / 255, **settings)
    assert len(form.components()) == len(values)
    assert form.build(2, [name, "l2", 0.7, *values[3:]]).eps == 0.7


def test_form_values_outside_the_rules_are_refused() -> None:
    steps = next(f for f in fields(PGD) if f.name == "steps")
    with pytest.raises(InputError, match="whole number"):
        read(steps, 2.5)
    with gr.Blocks():
        form = AttackForm()
    values = defaults(form)
    for eps, name, words in ((-1, "pgd", "at least 0"), (300, "pgd", "above 1"),
                             (float("nan"), "pgd", "finite"), (1, "magic", "no attack")):
        with pytest.raises(InputError, match=words):
            form.build(eps, [name, "linf", 1.0, *values])


def test_every_example_is_complete_and_noticed() -> None:
    examples = load_examples()
    notice = (FOLDER / "NOTICE.md").read_text(encoding="utf-8")
    assert len(examples) >= 10
    for example in examples.values():
        assert example.path.is_file() and example.path.name in notice
        assert example.target in example.captions and len(set(example.captions)) >= 4
        assert example.captions[example.true] != example.target and len(example.alt) > 20
    unknown = {p.name for p in Path(FOLDER).glob("*.jpg")} - {e.path.name for e in
                                                             examples.values()}
    assert not unknown
    assert strip(examples).count("<button") == len(examples)


@pytest.mark.parametrize(("text", "true", "target", "kept", "aimed"), [
    ("a dog\na cat!\na car", "a cat", "a car", "a cat!", "a car"),  # the marked line is edited
    ("a dog\na cat\na bus", "a cat", "a car", "a cat", "a bus"),
    ("a cat\na car", "a cat", "a dog", "a cat", ANY_WRONG),  # a line is deleted
    ("", "a cat", "a moose", None, "a moose"),  # a target of one's own stays
])
def test_marks_follow_the_captions(
    text: str, true: str, target: str, kept: str | None, aimed: str,
) -> None:
    listed, first, second = AttackTab._relist(text, ["a dog", "a cat", "a car"], true, target)
    assert listed == text.split("\n") if text else listed == []
    assert (first["value"], second["value"]) == (kept, aimed)


def visitor(name: str) -> gr.Request:
    return cast(gr.Request, SimpleNamespace(session_hash=name))


def test_only_the_newest_press_of_a_visitor_runs() -> None:
    tickets, one, other = Tickets(), visitor("one"), visitor("other")
    first, second, theirs = tickets.take(one), tickets.take(one), tickets.take(other)
    assert not tickets.holds(one, first) and tickets.holds(one, second)
    tickets.done(one, first)  # an old run that ends takes nothing from the new one
    assert tickets.holds(one, second)
    assert tickets.stop(one) and not tickets.holds(one, second) and not tickets.stop(one)
    assert tickets.holds(other, theirs)
    tickets.done(other, theirs)
    assert not tickets.stop(other)
