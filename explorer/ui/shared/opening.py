"""One picture of a hunt or a comparison, opened in the Attack tab with everything as it was set."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import gradio as gr

from explorer.analysis.failures.hunt import HuntPlan
from explorer.analysis.failures.pictures import clean_picture
from explorer.analysis.failures.slices import Example, Found, named_answers
from explorer.base.errors import InputError, sentence
from explorer.ui.shared.choice import AttackChoice
from explorer.ui.shared.desk import ANY_WRONG, ATTACK_ID, Desk
from explorer.ui.shared.runs import LIGHT

MOST_CAPTIONS = 40  # that the Attack tab gets; of more, the ones that any picture was taken for
PRESS_ATTACK = "() => { window.scrollTo(0, 0); document.querySelector('#rx-go')?.click(); }"


def opens(part: gr.HTML, find: Callable[..., list[Any]], inputs: Any, desk: Desk, tabs: gr.Tabs,
          ) -> None:
    """A press on a picture in `part` opens it in the Attack tab. find: a handler that gives its
    `values`."""
    cast(Any, part).opencase(find, inputs, _components(desk, tabs), **LIGHT).success(
        None, None, None, js=PRESS_ATTACK, api_visibility="private")


@contextmanager
def noticed() -> Iterator[None]:
    """A mistake as a notice on the page."""
    try:
        yield
    except InputError as error:
        raise gr.Error(html.escape(sentence(error))) from None


def pressed(found: Found, event: gr.EventData) -> Example:
    """The picture that was pressed. Raises InputError where there is none."""
    for case in found.cases:
        if str(case.place) == str(event._data.get("id")):
            return case
    raise InputError("this picture is not there any more")


def _components(desk: Desk, tabs: gr.Tabs) -> list[Any]:
    """What `values` are for."""
    return [*desk.case(), desk.goal, desk.standard, desk.robust, desk.seed, tabs,
            *desk.choice.components()]


def values(folder: Path, plan: HuntPlan, found: Found, case: Example, choice: AttackChoice,
           ) -> list[Any]:
    """folder: of the hunt. Raises InputError when the picture is not there any more."""
    image = clean_picture(folder, case.place)
    captions = offered(found, case)
    return [image, "\n".join(captions), captions,
            gr.update(choices=captions, value=found.captions[case.label]),
            gr.update(choices=[ANY_WRONG, *captions], value=ANY_WRONG), case.name,
            "classification", *plan.models, plan.seed, gr.Tabs(selected=ATTACK_ID),
            *choice.show(plan.kind, plan.attack, plan.settings)]


def offered(found: Found, case: Example) -> list[str]:
    """All captions of the set or, of very many, those that this picture and the most others were
    taken for; the true one among them."""
    if len(found.captions) <= MOST_CAPTIONS:
        return list(found.captions)
    own = [case.label, *(k for one in case.sides for k in (one.was, one.now))]
    usual = named_answers(found.cases, "models", MOST_CAPTIONS)
    kept = list(dict.fromkeys([*own, *usual]))[:MOST_CAPTIONS]
    return [found.captions[k] for k in sorted(kept)]
