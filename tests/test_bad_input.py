"""Odd and bad input through the app's own path: it runs to its end, or one sentence says why not.

Nothing that one visitor sends may break the next run.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import gradio as gr
import pytest
from test_pairs import BAD, GOOD, sentence

from explorer.actions.attack import attack_both
from explorer.attacks.image.classic import PGD
from explorer.attacks.request import Request
from explorer.base.errors import InputError
from explorer.data.examples import FOLDER
from explorer.models.library import Library
from explorer.ui.shared.fields import Slider
from explorer.ui.shared.forms import AttackForm
from explorer.ui.shared.runs import lines

CAT = str(FOLDER / "cat.jpg")
CAPTIONS = ("a cat", "a dog", "a red car")


def finish(library: Library, photo: str = CAT, captions: tuple[str, ...] = CAPTIONS,
           true: str = "", goal: str = "classification") -> None:
    """One press of the button, which must end with both models attacked and compared."""
    said = tuple(lines("\n".join(captions)))
    request = Request((photo,), said, (true or 0,), PGD(eps=2 / 255, steps=1), goal=goal,
                      models=("plain", "hard"))
    last = list(attack_both(library, request))[-1]
    assert last.text == "Done." and last.outcome is not None
    assert all(part.result is not None for part in last.outcome.parts)
    assert len(last.outcome.grid) == 4


# --- pictures -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GOOD)
def test_odd_pictures_are_attacked(name: str, two: Library, tmp_path: Path) -> None:
    file = tmp_path / "picture.png"
    file.write_bytes(GOOD[name][0]())
    finish(two, str(file))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", BAD)
def test_bad_pictures_get_one_sentence(name: str, two: Library, tmp_path: Path) -> None:
    make, say = BAD[name]
    file = tmp_path / "picture.png"
    file.write_bytes(make())
    with pytest.raises(InputError, match=say) as error:
        finish(two, str(file))
    sentence(error)
    finish(two)


# --- captions -------------------------------------------------------------------------------


@pytest.mark.parametrize("captions", [
    tuple(f"thing {k}" for k in range(200)), ("", "a cat", "  \t", "a dog", ""),
    ("一只猫", "一条狗"), ("a 🐱", "👨\u200d👩\u200d👧 at home"), ("قطة صغيرة", "می\u200cخواهم"),
], ids=["two hundred", "empty lines", "chinese", "emoji", "right to left"])
def test_odd_captions_are_attacked(captions: tuple[str, ...], two: Library) -> None:
    finish(two, captions=captions)


@pytest.mark.parametrize("goal", ["similarity", "embedding", "classification"])
def test_one_caption_is_enough(goal: str, two: Library) -> None:
    finish(two, captions=("a cat",), goal=goal)


@pytest.mark.parametrize(("captions", "say"), [
    ((), "at least one caption"), (("", " "), "at least one caption"),
    (("a cat", "x" * 10_000), "10,000 characters"), (("a cat", "a dog", "a cat"), "are the same"),
], ids=["none", "only empty lines", "ten thousand characters", "twice"])
def test_bad_captions_get_one_sentence(captions: tuple[str, ...], say: str, two: Library) -> None:
    with pytest.raises(InputError, match=say) as error:
        finish(two, captions=captions)
    sentence(error)
    finish(two)


# --- settings -------------------------------------------------------------------------------


def build(eps: Any = 1, norm: Any = "linf", eps_l2: Any = 1.0, steps: Any = 10,
          step: Any = 1) -> PGD:
    """The attack that the form makes of values as the browser may send them."""
    own = {"Steps": steps, "Step size": step}
    with gr.Blocks():
        form = AttackForm()
    values = ["pgd", norm, eps_l2, 0]
    for name in form.choices.own:
        for control in form.choices.own[name]:
            label = str(control.label).split(" (")[0]
            changed = name == "pgd" and label in own
            values.append(own[label] if changed else cast(Any, control).value)
    return cast(PGD, form.build(eps, values))


@pytest.mark.parametrize(("make", "say"), [
    (lambda: build(eps=-1), "at least 0"), (lambda: build(eps=256), "above 1"),
    (lambda: build(eps=float("nan")), "finite"), (lambda: build(eps=float("inf")), "finite"),
    (lambda: build(eps=None), "^the budget ε must be a number$"),
    (lambda: build(eps="much"), "^the budget ε must be a number$"),
    (lambda: build(norm="l2", eps_l2=None), "^the budget ε must be a number$"),
    (lambda: build(norm="l2", eps_l2=float("nan")), "finite"),
    (lambda: build(norm=None), "norm"),
    *((lambda value=value: build(steps=value), "^Steps must be a number from 1 to 200$")
      for value in (0, -1, 10**9, 10**400, None, "ten", float("nan"), float("inf"))),
    (lambda: build(steps=2.5), "whole number"),
    *((lambda value=value: build(step=value),
       "^Step size must be a number from 0.25 to 8$")
      for value in (0.1, 9, -1, float("nan"))),
])
def test_bad_settings_get_one_sentence(make: Callable[[], PGD], say: str) -> None:
    with pytest.raises(InputError, match=say) as error:
        make()
    sentence(error)


def test_settings_at_the_ends_of_their_ranges_are_taken() -> None:
    assert build(eps=0).eps == 0 and build(eps=255).eps == 1
    assert build(steps=1).steps == 1 and build(steps=200.0).steps == 200
    assert build(step=0.25).step == 0.25 / 255
    assert build(step=0).step is None and build(step=0, eps=16, steps=10).step_size == 4 / 255
    assert build(eps=None, norm="l2", eps_l2=2, steps=10).step_size == 0.5
    assert build(norm="l2", eps_l2=0).step_size > 0


def test_sliders_hand_over_what_the_browser_sent() -> None:
    slider = Slider(1, 200, 10, step=1)
    assert slider.get_block_name() == "slider"
    assert slider.preprocess(None) is None and slider.preprocess(10**9) == 10**9
    with gr.Blocks():
        form = AttackForm()
    assert not [c for c in form.components() if type(c) is gr.Slider]


def test_what_a_mistake_quotes_stays_on_its_line() -> None:
    assert str(InputError("no file 'a\n\tb\x00\u202ec' here")) == "no file 'a bc' here"
