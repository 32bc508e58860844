"""What is looked at, from tab to tab: the case, its address, forms set by it, results that links
find again, and a screen that shows itself."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from serving import ROOT, served

from explorer.analysis.embedding.shift import EXAMPLE, Anchors
from explorer.attacks.image.classic import FGSM, PGD
from explorer.attacks.joint import JOINT_ATTACKS
from explorer.attacks.registry import Attack, kind_of, make_attack, name_of
from explorer.attacks.request import Request
from explorer.attacks.result import Result
from explorer.attacks.run import run
from explorer.attacks.text.classic import TEXT_ATTACKS
from explorer.base.settings import Settings
from explorer.data.examples import load_examples
from explorer.data.pairs import Pairs
from explorer.models.encoder import DualEncoder
from explorer.models.library import Library
from explorer.results.outcome import Outcome, Part
from explorer.server.guards import Guard
from explorer.server.kept import Kept
from explorer.ui.attack import cases
from explorer.ui.attack.cases import Cases
from explorer.ui.embedding.scene import examples_like
from explorer.ui.evaluate.form import EvaluateForm
from explorer.ui.failures.form import FailuresForm
from explorer.ui.shared.address import OWN, Preset, link
from explorer.ui.shared.asked import FIRST, asked_of
from explorer.ui.shared.case import Case
from explorer.ui.story import how, where
from explorer.ui.train.form import AGAINST, TrainForm

LIBRARY, PAIR = Library(), ("pocket", "pocket-robust")
DOG = load_examples()["dog"]
ATTACKS: list[Attack] = [
    PGD(eps=4 / 255, steps=3), PGD(eps=0.7, norm="l2", steps=2), FGSM(),
    make_attack("text", "synonym", {"words": 2, "similarity": 0.0}),
    make_attack("text", "character", {"characters": 2}),
    JOINT_ATTACKS["separate"](image=FGSM(eps=2 / 255), text=TEXT_ATTACKS["typo"]())]


def looked_at(attack: Attack, tiny: DualEncoder, four: Pairs, alt: str = DOG.alt) -> Case:
    """A case as a finished run leaves it, of a tiny model under the embedded ones' names."""
    one = Pairs(four.images[:1], four.captions, four.labels[:1])
    result = run(attack, tiny, one, seed=3)
    parts = [Part(LIBRARY.card(name), result) for name in PAIR]
    case = Case.of(Outcome(alt, parts).light())
    assert case is not None
    return case


def set_by(form: Any, case: Case) -> list[Any]:
    """The values of a form's components after it was set by a case, as the page would have them."""
    values = {id(one): one.value for one in form.components()}
    for one, said in zip(form.carried(), form.carry(case), strict=True):
        told = said if isinstance(said, dict) and said.get("__type__") == "update" else {
            "value": said}
        if "value" in told:
            values[id(one)] = told["value"]
    return [values[id(one)] for one in form.components()]


@pytest.mark.parametrize("attack", ATTACKS, ids=name_of)
def test_the_address_of_a_result_is_that_of_its_question(
    attack: Attack, tiny: DualEncoder, four: Pairs,
) -> None:
    case = looked_at(attack, tiny, four)
    asked = Request(("x",), four.captions, (0,), attack, models=PAIR, seed=3, alt=DOG.alt)
    assert case.address == link(asked) and "image=dog" in case.address
    assert "tab=" not in where(case.address) and "image=dog" in where(case.address)
    assert f"image={OWN}" in looked_at(attack, tiny, four, "your photo").address


@pytest.mark.parametrize("attack", ATTACKS, ids=name_of)
def test_forms_that_are_set_by_a_case_ask_for_its_attack(
    attack: Attack, tiny: DualEncoder, four: Pairs, tmp_path: Path,
) -> None:
    case = looked_at(attack, tiny, four)
    with gr.Blocks():
        hunt, table = FailuresForm(LIBRARY, PAIR, ""), EvaluateForm(LIBRARY, PAIR, "")
        train = TrainForm(LIBRARY)
    wish, _, _ = hunt.read(set_by(hunt, case), tmp_path)
    assert (wish.kind, wish.attack, wish.models, wish.seed) == (
        kind_of(attack), name_of(attack), PAIR, 3)
    assert wish.settings == case.result.settings and wish.extra == four.captions
    plan, _, _ = table.read(set_by(table, case), tmp_path)
    assert [one.attack for one in plan.asked] == [None, attack] and plan.models == PAIR
    values = dict(zip(("method", "base", "eps"), train.carry(case), strict=False))
    assert (values["method"], values["base"]) == (AGAINST[kind_of(attack)], "pocket")
    if case.grey_levels is not None:
        assert values["eps"] == pytest.approx(case.grey_levels)


def test_a_budget_that_training_does_not_have_is_said(tiny: DualEncoder, four: Pairs) -> None:
    with gr.Blocks():
        form = TrainForm(LIBRARY)
    assert "no ε of grey levels" in form.carry(looked_at(ATTACKS[1], tiny, four))[-1]
    large = form.carry(looked_at(PGD(eps=12 / 255, steps=1), tiny, four))
    assert large[2] == 8 and "8/255 at most" in large[-1]


def test_the_attack_in_a_few_words(tiny: DualEncoder, four: Pairs) -> None:
    said = [how(looked_at(attack, tiny, four)) for attack in ATTACKS]
    assert said[0] == "PGD ε 4/255 on the photo"
    assert said[1] == "PGD ε 0.7 (L2) on the photo"
    assert said[3] == "Synonyms on the caption"
    assert said[5] == "Separate ε 2/255 on photo and caption"


def test_what_an_address_asks_for(tmp_path: Path) -> None:
    plain = asked_of(Preset(), PAIR, lambda _: None)
    first = load_examples()[FIRST]
    assert plain.request.pictures == (first.path,) and plain.request.captions == first.captions
    assert plain.key == plain.address
    other = asked_of(Preset(image="dog", captions=("a wolf", "a dog"), robust="pocket"), PAIR,
                     lambda _: None).request
    assert (other.true, other.models) == (("a wolf",), ("pocket", "pocket"))
    gone = asked_of(Preset(image=OWN, captions=("a", "b")), PAIR, lambda _: str(tmp_path / "no"))
    assert gone.request.pictures == () and gone.key == ""
    assert asked_of(Preset(image=OWN), PAIR, lambda _: None).request.captions  # nothing else to say
    photo = tmp_path / "mine.png"
    photo.touch()
    back = asked_of(Preset(image=OWN, captions=("a", "b")), PAIR, lambda _: str(photo))
    assert back.request.pictures == (str(photo),) and back.key == ""
    teacher = asked_of(Preset(image=str(photo), captions=("a", "b")), PAIR, lambda _: None)
    assert teacher.key.startswith(str(photo)) and f"image={OWN}" in teacher.address
    wrong = asked_of(Preset(target=first.truth), PAIR, lambda _: None)
    assert wrong.address == wrong.key == ""  # who runs it is told


def test_finished_cases_are_found_while_their_pictures_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cases, "MOST", 2)
    now = [0.0]
    kept = Kept(tmp_path, seconds=10, clock=lambda: now[0])
    found, empty = Cases(kept), Outcome("x", [])
    pages = [f'<img src="{kept.put(bytes([k]), "image/png")}">' for k in range(2)]
    found.put("first", pages[0], empty)
    found.put("a", pages[1], empty)
    assert found.get("a") == (pages[1], empty) and found.get("b") is None
    now[0] = 8
    assert found.get("a") is not None  # renews its pictures
    now[0] = 15
    kept.sweep()
    assert found.get("a") is not None and found.get("first") is not None
    now[0] = 40
    kept.sweep()
    assert found.get("a") is None and found.get("first") is not None
    for k, name in enumerate("bc"):
        found.put(name, f'<img src="{kept.put(bytes([9 + k]), "image/png")}">', empty)
    assert found.get("first") is None and found.get("c") is not None  # so many, the newest
    alone = Cases()
    alone.put("a", "<p>", empty)
    assert alone.get("a") == ("<p>", empty)


def test_an_outcome_keeps_its_link(tiny: DualEncoder, four: Pairs) -> None:
    result: Result = run(FGSM(), tiny, four)
    outcome = Outcome("x", [Part(LIBRARY.card("pocket"), result)], link="?image=dog")
    assert outcome.light().link == "?image=dog"


def test_the_arrows_of_other_examples_are_those_of_the_same_attack(
    tiny: DualEncoder, four: Pairs,
) -> None:
    examples = list(load_examples().values())
    anchors = Anchors("pocket", tuple(f"example:{i}" for i in range(12)), ("x",) * 12,
                      (EXAMPLE,) * 12, np.eye(12, 16, dtype=np.float32))

    def finished(attack: Attack, alt: str) -> Outcome:
        one = Pairs(four.images[:1], four.captions, four.labels[:1])
        return Outcome(alt, [Part(LIBRARY.card("pocket"), run(attack, tiny, one))]).light()

    own = finished(FGSM(), examples[0].alt)
    others = [own, finished(FGSM(), examples[3].alt), finished(FGSM(eps=0.5), examples[4].alt),
              finished(FGSM(), "your photo")]
    found = examples_like(own, "pocket", anchors, others)
    assert found is not None and found.rows.tolist() == [3] and found.features.shape == (1, 16)
    assert examples_like(own, "pocket-robust", anchors, others) is None
    assert examples_like(own, "pocket", anchors, [own]) is None
    assert examples_like(None, "pocket", anchors, others) is None


HANDED = ("element", "trigger", "props", "server", "upload", "watch")  # by Gradio, to each script


@pytest.mark.parametrize("file", sorted((ROOT / "explorer" / "ui").rglob("*.js")),
                         ids=lambda file: file.name)
def test_no_script_declares_what_gradio_hands_it(file: Path) -> None:
    """Such a script would not run at all. What is declared inside braces may have any name."""
    declared = re.findall(r"^(?:const|let|var|function)\s+(\w+)", file.read_text("utf-8"), re.M)
    assert not set(declared) & set(HANDED)


@pytest.mark.parametrize("demo", ["off", "open", "closed"])
def test_a_demonstration_takes_no_files_and_knows_the_next_visitor(demo: str) -> None:
    inner = FastAPI()
    inner.get("/", response_class=HTMLResponse)(lambda: "<html></html>")
    inner.post("/gradio_api/upload")(lambda: ["sent"])
    guard = Guard(inner, dataclasses.replace(Settings(), demo=demo))
    with served(guard) as address, httpx.Client(base_url=address) as visitor:
        assert visitor.get("/").headers.get("set-cookie")
        assert not visitor.get("/").headers.get("set-cookie")
        anew = visitor.get("/?fresh=1").headers.get("set-cookie")
        assert bool(anew) == (demo != "off")
        sent = visitor.post("/gradio_api/upload", files={"files": ("a.png", b"x")},
                            headers={"origin": address})
        assert (sent.status_code == 403 and "takes no files" in sent.text) == (demo == "closed")
