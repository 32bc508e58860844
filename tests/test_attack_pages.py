"""What the Attack tab sends while a run goes on, at its end, and when it ends early."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import gradio as gr
import pytest

import explorer.ui.attack.running as running
from explorer.actions.attack import attack_both
from explorer.attacks.image.classic import PGD
from explorer.attacks.request import Request
from explorer.base.errors import InputError
from explorer.base.progress import Progress
from explorer.data.examples import FOLDER
from explorer.models.library import Library
from explorer.ui.attack.tab import AttackTab

ASKED = Request((FOLDER / "cat.jpg",), ("a cat", "a dog", "a red car"), ("a cat",),
                PGD(eps=2 / 255, steps=3))
HEAVY = ("rx-trail", "Attacked PNG")
OFF = r'class="rx-step"[^>]* disabled'


@pytest.fixture
def tab() -> Iterator[AttackTab]:
    with gr.Blocks(analytics_enabled=False) as demo:
        yield AttackTab(demo, Library(), ("pocket", "pocket-robust"))


def drawn(tab: AttackTab, stop_at: str = "", steps: int = 3) -> tuple[list[str], list[str]]:
    """Status lines and pages of a run; stop_at: Stop is pressed when the status says this."""
    asked = replace(ASKED, attack=PGD(eps=2 / 255, steps=steps))
    visitor = cast(gr.Request, SimpleNamespace(session_hash="me", headers={}, query_params={}))
    ticket, said, pages = tab.tickets.take(visitor), [], []
    for status, page in tab.running.attack(visitor, ticket, lambda: asked):
        said.append(status)
        pages += [page] if isinstance(page, str) else []
        if stop_at and stop_at in status:
            tab.running.stop(visitor)
    return said, cast(Any, pages)


def test_pages_on_the_way_leave_out_what_only_the_last_one_needs(tab: AttackTab) -> None:
    _, pages = drawn(tab)
    assert len(pages) >= 3
    for page in pages[:-1]:
        assert not any(mark in page for mark in HEAVY)
        assert 'class="rx-adv"' in page and "rx-verdict" in page
        assert len(re.findall(OFF, page)) == page.count('class="rx-step"') > 0
    assert not re.search(OFF, pages[-1])
    assert all(pages[-1].count(mark) == 2 for mark in HEAVY)
    assert max(map(len, pages[:-1])) < len(pages[-1]) / 2


def test_a_run_that_is_stopped_leaves_all_that_it_had_finished(tab: AttackTab) -> None:
    said, pages = drawn(tab, "Attacked pocket", 60)  # the second is far from done
    assert "Stopped" in said[-1]
    assert all(pages[-1].count(mark) == 1 for mark in HEAVY)  # of the first model
    assert "Waiting for its turn" in pages[-1]


def test_a_run_that_fails_leaves_all_that_it_had_finished(
    tab: AttackTab, monkeypatch: pytest.MonkeyPatch,
) -> None:
    def failing(library: Library, asked: Request) -> Iterator[Progress]:
        for event in attack_both(library, asked):
            yield event
            if event.outcome is not None:
                raise InputError("no more")

    monkeypatch.setattr(running, "attack_both", failing)
    said, pages = drawn(tab)
    assert "No more." in said[-1]
    assert all(pages[-1].count(mark) == 1 for mark in HEAVY)
