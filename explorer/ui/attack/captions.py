"""The captions of the Attack tab: the menus that follow them, and those that a run brings along."""

from __future__ import annotations

from typing import Any

import gradio as gr

from explorer.results.outcome import Outcome
from explorer.ui.shared.desk import ANY_WRONG
from explorer.ui.shared.runs import lines, told

TAKEN = told("That is the true caption now. Press Attack.")


def relist(text: str, listed: list[str], true: str, target: str) -> tuple[Any, Any, Any]:
    """The menus follow the text. A caption that is being edited keeps its mark."""
    captions = list(dict.fromkeys(lines(text)))

    def follow(marked: str) -> str | None:
        if marked in captions or marked not in listed:
            return marked
        place = listed.index(marked)
        return captions[place] if len(captions) == len(listed) else None

    kept = follow(true)
    kept = kept if kept in captions else (captions[0] if captions else None)
    return (captions, gr.update(choices=captions, value=kept),
            gr.update(choices=[ANY_WRONG, *captions], value=follow(target) or ANY_WRONG))


def joined(text: str, outcome: Outcome | None) -> str:
    """The captions of a run whose only one was in the text: those that it stood against join it.
    "" for any other run, and where the text has been changed meanwhile."""
    result = outcome.parts[0].result if outcome else None
    if result is None or result.targets is not None or lines(text) != [result.captions[0]]:
        return ""
    return "\n".join(result.captions)


def take(event: gr.EventData, text: str) -> tuple[Any, ...]:
    """A suggestion becomes the true caption; the others stay."""
    taken = str(event._data.get("caption", ""))
    listed = [taken, *(one for one in dict.fromkeys(lines(text)) if one != taken)]
    return ("\n".join(listed), listed, gr.update(choices=listed, value=taken),
            gr.update(choices=[ANY_WRONG, *listed], value=ANY_WRONG), TAKEN)
