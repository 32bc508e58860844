"""The Attack tab without a browser: requests, forms and drawn pages."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import gradio as gr
import pytest
import torch
from text_helpers import four_sentences

from explorer.actions.attack import attack_both
from explorer.attacks.image.classic import IMAGE_ATTACKS, PGD
from explorer.attacks.joint import JOINT_ATTACKS, JointAttack, Separate
from explorer.attacks.registry import Attack, kind_of
from explorer.attacks.request import Request
from explorer.attacks.run import run
from explorer.attacks.text.base import TextAttack
from explorer.attacks.text.classic import TEXT_ATTACKS, Character, HotFlip, Typo
from explorer.base.errors import InputError
from explorer.base.progress import Progress
from explorer.base.words import words_changed
from explorer.data.examples import FOLDER, GROUPS, SCENES, THINGS, load_examples, of_group
from explorer.models.encoder import DualEncoder
from explorer.models.library import Library
from explorer.results.compare import _carried
from explorer.results.outcome import Outcome
from explorer.results.stage import draw
from explorer.results.views import esc
from explorer.ui.attack.captions import relist
from explorer.ui.attack.examples import HEADS, strip
from explorer.ui.shared.choice import AttackChoice
from explorer.ui.shared.desk import ANY_WRONG, aim
from explorer.ui.shared.fields import own_fields, read
from explorer.ui.shared.forms import AttackForm
from explorer.ui.shared.runs import Tickets

CAPTIONS = ("a cat", "a dog", "a red car")


def request(**changes: Any) -> Request:
    base = Request((FOLDER / "cat.jpg",), CAPTIONS, ("a cat",), PGD(eps=2 / 255, steps=3),
                   models=("plain", "hard"))
    return replace(base, **changes)


def test_a_run_yields_each_step_and_a_full_page(two: Library) -> None:
    events = list(attack_both(two, request()))
    steps = [(e.done, e.total) for e in events if e.text.startswith("Attacking")]
    assert steps == [(1, 3), (2, 3), (3, 3)] * 2
    last = events[-1]
    assert last.text == "Done." and isinstance(last.outcome, Outcome)
    page = draw(last.outcome)
    assert page.count('class="rx-say"') == 2 and page.count("rx-noise") == 2
    said = re.findall('class="rx-say">(.*?)</p>', page)
    assert all(re.findall(r"\S+ %", re.sub("<.*?>", "", s)) == re.findall(
        r'"rx-unit">(\S+ %)</span>', s) != [] for s in said)  # no line ends between the two
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
    asked = request(target="  a blue   bird ").checked()
    assert asked.captions == (*CAPTIONS, "a blue bird")
    assert (asked.true, asked.target) == ((0,), 3)
    assert request(target="a dog").checked().target == 1
    assert request(target=1).checked().target == 1
    assert [aim(said) for said in ("", None, ANY_WRONG, " a  dog ")] == [None, None, None, "a dog"]


@pytest.mark.parametrize(("changes", "words"), [
    ({"pictures": ()}, "choose a photo"),
    ({"captions": ()}, "at least one caption"),
    ({"captions": ("a cat", "a cat")}, "are the same"),
    ({"true": ("a lion",)}, "mark one of the captions"),
    ({"target": "a cat"}, "the true caption already"),
    ({"true": (3,)}, "0 to 2"), ({"seed": -1}, "seed must be"), ({"models": ()}, "name a model"),
    ({"goal": "worse"}, "goal must be"), ({"target": 9}, "0 to 2"), ({"true": ()}, "each picture"),
    ({"pictures": ("/nowhere/x.png",)}, "cannot read"),
])
def test_bad_requests_get_one_sentence(
    two: Library, changes: dict[str, Any], words: str,
) -> None:
    with pytest.raises(InputError, match=words):
        list(attack_both(two, request(**changes)))


def defaults(form: AttackForm) -> list[Any]:
    controls = [cast(Any, c) for own in form.choices.own.values() for c in own]
    return [c.value for c in controls]


@pytest.mark.parametrize("name", list(IMAGE_ATTACKS))
def test_a_form_builds_each_attack_with_its_defaults(name: str) -> None:
    with gr.Blocks():
        form = AttackForm()
    values = [name, "linf", 1.0, 0, *defaults(form)]
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
            form.build(eps, [name, "linf", 1.0, 0, *values])


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


def test_examples_are_two_groups_of_twelve() -> None:
    """Each with six captions; a scene's are sentences of their own, shared with no other photo."""
    drawn = strip(load_examples())
    for group in GROUPS:
        photos = of_group(group)
        assert len(photos) == 12 and all(len(e.captions) == 6 for e in photos)
        assert f'aria-label="Example photos: {group}"' in drawn and HEADS[group] in drawn
    scenes = [c for e in of_group(SCENES) for c in e.captions]
    assert len(set(scenes)) == len(scenes) and min(len(c.split()) for c in scenes) >= 5
    assert list(load_examples())[:12] == [e.id for e in of_group(THINGS)]
    size = sum(path.stat().st_size for path in FOLDER.iterdir())
    assert size < 2_000_000, "everybody downloads them"


@pytest.mark.parametrize(("text", "true", "target", "kept", "aimed"), [
    ("a dog\na cat!\na car", "a cat", "a car", "a cat!", "a car"),  # the marked line is edited
    ("a dog\na cat\na bus", "a cat", "a car", "a cat", "a bus"),
    ("a cat\na car", "a cat", "a dog", "a cat", ANY_WRONG),  # a line is deleted
    ("", "a cat", "a moose", None, "a moose"),  # a target of one's own stays
])
def test_marks_follow_the_captions(
    text: str, true: str, target: str, kept: str | None, aimed: str,
) -> None:
    listed, first, second = relist(text, ["a dog", "a cat", "a car"], true, target)
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


# --- captions and pairs -------------------------------------------------------------------------

SENTENCES = ("a photo of a small cat", "a dog on the grass", "a red car")


def joint(name: str, **fields: Any) -> JointAttack:
    return JOINT_ATTACKS[name](image=PGD(eps=2 / 255, steps=2), text=Typo(), **fields)


def choice() -> AttackChoice:
    with gr.Blocks():
        made = AttackChoice()
        made.what()
        made.budgets()
        made.more()
    return made


def values(form: AttackChoice, **changes: Any) -> list[Any]:
    """What the form hands over as it opens, with some controls set; kind, eps, edits, image, text,
    joint, and any field of the chosen attacks by name."""
    menus = {"image": form.image.choices.attack, "text": form.text.choices.attack,
             "joint": form.joint.choices.attack, "kind": form.kind, "eps": form.eps,
             "edits": form.edits, "protect": form.text.protect, "similarity": form.text.similarity,
             "objective": form.text.objective, "captions": form.text.captions}
    set_to = {id(menus[k]): v for k, v in changes.items()}
    return [set_to.get(id(c), cast(Any, c).value) for c in form.components()]


def test_the_form_as_it_opens_is_the_papers_image_attack() -> None:
    form = choice()
    assert form.build(values(form)) == PGD()


@pytest.mark.parametrize("name", TEXT_ATTACKS)
def test_a_form_builds_each_text_attack(name: str) -> None:
    form, kind = choice(), TEXT_ATTACKS[name]
    built = form.build(values(form, kind="text", text=name, edits=2, protect=True, similarity=0.5,
                              objective="cosine", captions="all"))
    budget = {"characters": 2} if kind is Character else {"words": 2}
    assert built == kind(**budget, protect=True, similarity=0.5, objective="cosine",
                         captions="all")


@pytest.mark.parametrize("name", JOINT_ATTACKS)
def test_a_form_builds_each_joint_attack(name: str) -> None:
    form = choice()
    built = form.build(values(form, kind="joint", joint=name, text="typo", image="fgsm", eps=3))
    assert built == JOINT_ATTACKS[name](image=IMAGE_ATTACKS["fgsm"](eps=3 / 255), text=Typo())


@pytest.mark.parametrize(("changes", "words"), [
    ({"kind": "audio"}, "the photo, the caption, or both"),
    ({"kind": "text", "text": "magic"}, "no attack 'magic'"),
    ({"kind": "joint", "joint": "magic"}, "no attack 'magic'"),
    *(({"kind": "text", "edits": e}, "number of words") for e in (-1, 6, 1.5, None, "two",
                                                                 float("nan"), float("inf"))),
    *(({"kind": "text", "similarity": f}, "similarity floor") for f in (-0.1, 2, float("nan"))),
    ({"kind": "text", "objective": "hope"}, "objective must be one of"),
    ({"kind": "text", "captions": "none"}, "captions must be one of"),
])
def test_text_controls_outside_the_rules_are_refused(changes: Any, words: str) -> None:
    form = choice()
    with pytest.raises(InputError, match=words):
        form.build(values(form, **changes))


@pytest.mark.parametrize("attack", [
    PGD(eps=3 / 255, steps=7), Character(characters=3, rho=20, new_words=True),
    Typo(words=2, protect=True, objective="kl", captions="all"),
    JOINT_ATTACKS["alternating"](image=PGD(steps=4), text=Typo(words=2), rounds=3),  # type: ignore[call-arg]
    JOINT_ATTACKS["co-attack"](image=PGD(), text=Typo(), alpha=2.5),  # type: ignore[call-arg]
], ids=lambda a: type(a).__name__)
def test_what_a_form_is_set_to_is_what_it_builds(attack: Attack, tiny: DualEncoder) -> None:
    """Showing the settings of a result and building from them gives its attack again."""
    result, form = run(attack, tiny, four_sentences()), choice()
    shown = form.show(result.kind, result.attack, result.settings)
    kept = [c.value if isinstance(v, dict) and v.get("__type__") == "update" else v
            for c, v in zip(cast(Any, form.components()), shown, strict=True)]
    assert form.build(kept) == attack


@pytest.mark.parametrize("name", TEXT_ATTACKS)
def test_a_text_run_draws_the_changed_words(name: str, two: Library) -> None:
    attack = TEXT_ATTACKS[name]()
    events = list(attack_both(two, request(captions=SENTENCES, true=(0,), attack=attack,
                                           goal="similarity")))
    assert {e.text for e in events if e.total} == {"Attacking the caption on plain",
                                                   "Attacking the caption on hard"}
    outcome = events[-1].outcome
    assert outcome is not None and events[-1].text == "Done."
    page = draw(outcome)
    assert page.count('class="rx-wording"') == 2 and "The photo stays as it is" in page
    assert "rx-noise" not in page and "Smallest ε" not in page
    result = outcome.parts[0].result
    assert result is not None and isinstance(attack, TextAttack)
    clean, now = result.own_captions()
    assert words_changed(clean, now) <= attack.edits.words
    if now != clean:
        assert '<ins class="rx-ins">' in page or '<del class="rx-del">' in page
    assert ("Words proposed by: embedded MiniLM head" in page) == (name == "bert")


@pytest.mark.parametrize("name", JOINT_ATTACKS)
def test_a_joint_run_draws_each_half_beside_it(name: str, two: Library) -> None:
    events = list(attack_both(two, request(captions=SENTENCES, true=(0,),
                                           attack=joint(name))))
    said = {e.text for e in events if e.total}
    assert {f"For comparison, the {what} alone on {m}" for what in ("photo", "caption")
            for m in ("plain", "hard")} <= said
    outcome = events[-1].outcome
    assert outcome is not None
    page = draw(outcome)
    for head in ("clean", "photo alone", "caption alone", "both"):
        assert f'<th scope="col">{head}</th>' in page
    assert "What does each half do?" in page and "Does the attack carry over?" in page
    assert page.count('class="rx-wording"') == 2 and page.count("rx-noise") == 2
    for part in outcome.parts:
        assert set(part.alone) == {"image", "text"} and part.result is not None
        assert kind_of(joint(name)) == part.result.kind == "joint"
        assert (part.alone["image"].kind, part.alone["text"].kind) == ("image", "text")
        if name == "separate":
            assert torch.equal(part.alone["image"].adversarial_images,
                               part.result.adversarial_images)


def test_a_word_of_the_class_that_went_is_said_and_protected(two: Library) -> None:
    captions = ("a photo of a cat", "a photo of a dog", "a photo of a car")
    said = []
    for protect in (False, True):
        attack = HotFlip(protect=protect)
        outcome = list(attack_both(two, request(captions=captions, true=(0,),
                                                attack=attack)))[-1].outcome
        assert outcome is not None
        result = outcome.parts[0].result
        assert result is not None
        said.append("which names the class" in draw(outcome))
        assert ("cat" not in result.own_captions()[1].split()) == said[-1]
    assert said[1] is False


@pytest.mark.parametrize(("captions", "attack"), [
    (("it is", "a dog"), Typo()), (("!!!", "a dog"), Typo()),
    (("a cat", "a dog"), Typo(words=0)), (("a cat", "a dog"), Typo(protect=True)),
])
def test_a_caption_that_cannot_change_is_said_on_the_page(
    two: Library, captions: tuple[str, ...], attack: TextAttack,
) -> None:
    outcome = list(attack_both(two, request(captions=captions, true=(0,),
                                            attack=attack)))[-1].outcome
    assert outcome is not None
    page = draw(outcome)
    assert page.count("Nothing changed: ") >= 2 and "rx-unchanged" in page


@pytest.mark.parametrize("caption", [
    "<b>bold</b> {cat} $1", "a\x00cat\x1b", "кошка на траве 一条狗 قطة", "🐈 🐕 cat",
    " ".join(["remarkable"] * 100)])
def test_odd_captions_reach_the_page_whole_and_harmless(two: Library, caption: str) -> None:
    attack = Separate(image=PGD(eps=1 / 255, steps=1), text=Character(rho=5))
    made = request(captions=(caption, "a dog"), true=(caption,), attack=attack)
    outcome = list(attack_both(two, made))[-1].outcome
    assert outcome is not None and outcome.parts[0].result is not None
    page = draw(outcome)
    assert "<b>bold" not in page and "\x00" not in page and "\x1b" not in page
    assert "{cat}" not in page
    kept, now = outcome.parts[0].result.own_captions()
    assert esc(now) in page or kept != now


def test_a_target_needs_an_attack_that_can_aim(two: Library) -> None:
    for name in ("co-attack", "set-guided"):
        with pytest.raises(InputError, match="has no target"):
            list(attack_both(two, request(captions=SENTENCES, true=(0,),
                                          target=SENTENCES[1], attack=joint(name))))
