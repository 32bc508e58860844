"""One picture of a hunt or a comparison, opened in the Attack tab with everything as it was set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from explorer.analysis.failures.hunt import HuntPlan
from explorer.analysis.failures.pictures import clean_picture
from explorer.analysis.failures.slices import Example, Found, named_answers
from explorer.ui.shared.choice import AttackChoice
from explorer.ui.shared.desk import ANY_WRONG, ATTACK_ID, Desk

MOST_CAPTIONS = 40  # that the Attack tab gets; of more, the ones that any picture was taken for


def components(desk: Desk, tabs: gr.Tabs) -> list[Any]:
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
