"""What lies on the Attack tab's desk: the components that other tabs read and fill."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from explorer.base.store import Store
from explorer.results.outcome import Outcome
from explorer.server.gate import Gate
from explorer.ui.shared.choice import AttackChoice

ANY_WRONG = "anything wrong"  # in the place of a caption that is aimed at
ATTACK_ID = "attack"  # of the tab, in the page's gr.Tabs


def aim(target: str | None) -> str | None:
    """The caption that a menu's value asks for; None for anything wrong."""
    said = " ".join((target or "").split())
    return None if said in ("", ANY_WRONG) else said


@dataclass(frozen=True)
class Desk:
    """pair_ids: the standard and the robust model that a page opens with; listed: the captions as
    the menus show them; finished: changes with each run that ended; store: what each visitor saw
    last."""

    pair_ids: tuple[str, str]
    gate: Gate
    store: Store[Outcome]
    choice: AttackChoice
    photo: gr.components.Component
    captions: gr.Textbox
    listed: gr.State
    true: gr.Dropdown
    target: gr.Dropdown
    alt: gr.State
    goal: gr.Dropdown
    standard: gr.Dropdown
    robust: gr.Dropdown
    seed: gr.Number
    finished: gr.HTML

    def case(self) -> list[Any]:
        """The components that hold one case, in the order in which events fill them."""
        return [self.photo, self.captions, self.listed, self.true, self.target, self.alt]
