"""What is done with single pictures of a study: opened in the Attack tab, searched, saved."""

from __future__ import annotations

import hashlib
import html
import logging
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import gradio as gr

from explorer import cases as single
from explorer.background import Background, Progress, Work
from explorer.errors import InputError
from explorer.failures import (
    AXES,
    OTHERS,
    SLICES,
    SORTS,
    Case,
    Found,
    View,
    as_csv,
    chosen,
    named_answers,
    read_study,
)
from explorer.models import Library
from explorer.server.gate import Gate, visitor_of
from explorer.server.turns import place_words
from explorer.study import Wish, clean_path
from explorer.ui.attack_tab import failure
from explorer.ui.failures_views import names
from explorer.ui.session import ANY_WRONG
from explorer.ui.train_start import told
from explorer.ui.train_tab import ATTACK_ID
from explorer.views import esc

LOG = logging.getLogger(__name__)
MOST_CAPTIONS = 40  # that the Attack tab gets; of more, the ones that any picture was taken for
Said = tuple[Any, Any]


def owner_of(request: gr.Request) -> str:
    """Whose works they are, without the visitor's cookie on disk."""
    return hashlib.sha256(visitor_of(request).encode()).hexdigest()[:32]


def sentence(error: InputError) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."


def bar(progress: Progress) -> str:
    return (f'<p class="rx-status" role="status">{esc(progress.text)} <progress '
            f'max="{progress.total}" value="{progress.done}" aria-label="{esc(progress.text)}">'
            f"</progress> {progress.done} of {progress.total}</p>")


def ready(name: str, raw: bytes) -> Any:
    """A file for the visitor to save, in the folder of uploads."""
    folder = tempfile.mkdtemp(prefix="save-", dir=os.environ.get("GRADIO_TEMP_DIR") or None)
    path = Path(folder) / re.sub(r"[^A-Za-z0-9._-]+", "-", name)
    path.write_bytes(raw)
    return gr.update(value=str(path), visible=True)


class FailureCases:
    """Handlers of the Failures tab."""

    def __init__(self, library: Library, works: Background, gate: Gate) -> None:
        self.library, self.works, self.gate = library, works, gate

    def roles(self, work: Work | None) -> tuple[str, str]:
        """What a study's models are called."""
        if work is None:
            return "left", "right"
        models, kinds = work.wish["study"]["models"], []
        for name in models:
            try:
                kinds.append(self.library.card(name).kind)
            except InputError:
                kinds.append("")
        return names(models, kinds)

    def _study(self, study: str, request: gr.Request) -> tuple[Work, Wish, Found]:
        if not study:
            raise InputError("start a study first")
        work = self.works.get(study, owner_of(request))
        return work, Wish.read(work.wish["study"]), read_study(work.folder)

    # -- one picture in the Attack tab ------------------------------------------------------------

    def open(self, study: str, event: gr.EventData, request: gr.Request) -> list[Any]:
        try:
            work, wish, found = self._study(study, request)
            case = next((c for c in found.cases if str(c.place) == str(event._data.get("id"))),
                        None)
            if case is None:
                raise InputError("this picture is not in the study any more")
            image = single.picture(clean_path(work.folder, case.place))
        except InputError as error:
            raise gr.Error(html.escape(sentence(error))) from None
        captions = offered(found, case)
        true = found.captions[case.label]
        return [image, "\n".join(captions), captions, gr.update(choices=captions, value=true),
                gr.update(choices=[ANY_WRONG, *captions], value=ANY_WRONG), case.name,
                "classification", *wish.models, wish.seed, gr.Tabs(selected=ATTACK_ID),
                *wish.controls]

    # -- what takes a while -----------------------------------------------------------------------

    def _guarded(self, request: gr.Request, work: Callable[[], Iterator[Any]]) -> Iterator[Any]:
        """In this visitor's turn on the device; mistakes as one sentence."""
        try:
            with closing(cast(Any, self.gate.pages(request, work, lambda n: told(place_words(n))))
                         ) as pages:
                yield from pages
        except InputError as error:
            yield failure(sentence(error))
        except Exception:
            LOG.exception("work on a study's pictures failed")
            yield failure("Something failed on our side; the server's log has the details.")

    def flips(self, study: str, ticked: Sequence[int], request: gr.Request) -> Iterator[str]:
        def work() -> Iterator[str]:
            folder, wish, found, cases = self._ticked(study, ticked, request)
            for progress in single.flips(folder, wish, found, cases, self.library):
                yield bar(progress)
            yield told(f"Searched {len(cases)} pictures: each now says at which ε it flips.")

        yield from self._guarded(request, work)

    def bundles(self, study: str, ticked: Sequence[int], request: gr.Request) -> Iterator[Said]:
        def work() -> Iterator[str | tuple[str, bytes]]:
            folder, wish, found, cases = self._ticked(study, ticked, request)
            for item in single.bundles(folder, wish, found, cases, self.library):
                yield bar(item) if isinstance(item, Progress) else item

        for item in self._guarded(request, work):
            yield ((item, gr.skip()) if isinstance(item, str) else
                   (told(f"{item[0]} is ready: save it below."), ready(*item)))

    def _ticked(self, study: str, ticked: Sequence[int], request: gr.Request,
                ) -> tuple[Path, Wish, Found, list[Case]]:
        work, wish, found = self._study(study, request)
        return work.folder, wish, found, [c for c in found.cases if c.place in set(ticked)]

    def csv(self, study: str, ticked: Sequence[int], where: dict[str, Any], label: str, sort: str,
            falling: bool, axes: str, request: gr.Request) -> Said:
        try:
            _, wish, found = self._study(study, request)
            cases = self._shown(found, ticked, where, label, sort, falling, axes)
        except InputError as error:
            return failure(sentence(error)), gr.skip()
        text = as_csv(found, cases, wish.models)
        return (told(f"failures.csv has {len(cases):,} pictures: save it below."),
                ready("failures.csv", b"\xef\xbb\xbf" + text.encode()))

    def sheet(self, study: str, ticked: Sequence[int], where: dict[str, Any], label: str,
              sort: str, falling: bool, axes: str, request: gr.Request) -> Said:
        try:
            work, _, found = self._study(study, request)
            cases = self._shown(found, ticked, where, label, sort, falling, axes)
            raw = single.contact_sheet(work.folder, found, cases, self.roles(work))
        except InputError as error:
            return failure(sentence(error)), gr.skip()
        few = min(len(cases), single.MOST_SHEET)
        left = f", the first of {len(cases):,}" if few < len(cases) else ""
        return (told(f"contact-sheet.png has {few} pictures{left}: save it below."),
                ready("contact-sheet.png", raw))

    @staticmethod
    def _shown(found: Found, ticked: Sequence[int], where: dict[str, Any], label: str, sort: str,
               falling: bool, axes: str) -> list[Case]:
        """The ticked pictures, or without any, all of the choice."""
        view = view_of(where, label, sort, falling, "cards", axes)
        apart = [case for case in found.cases if view.slice in ("all", case.slice)]
        cases = chosen(found.cases, view, named_answers(apart, view.axes))
        only = set(ticked)
        return [case for case in cases if case.place in only] if only else cases


def offered(found: Found, case: Case) -> list[str]:
    """All captions of the set or, of very many, those that this picture and the most others were
    taken for; the true one among them."""
    if len(found.captions) <= MOST_CAPTIONS:
        return list(found.captions)
    own = [case.label, *(k for one in case.sides for k in (one.was, one.now))]
    usual = named_answers(found.cases, "models", MOST_CAPTIONS)
    kept = list(dict.fromkeys([*own, *usual]))[:MOST_CAPTIONS]
    return [found.captions[k] for k in sorted(kept)]


def view_of(where: dict[str, Any], label: str, sort: str, falling: bool, layout: str, axes: str,
            ) -> View:
    """The view of what the controls hold; what they cannot hold counts as nothing chosen."""
    cell = where.get("cell")
    return View(
        slice=where["slice"] if where.get("slice") in SLICES else "all",
        label=int(label) if str(label).isdecimal() else OTHERS,
        cell=(int(cell[0]), int(cell[1])) if cell else None,
        axes=axes if axes in AXES else "models",
        sort=sort if sort in SORTS else "place", descending=bool(falling),
        page=int(where.get("page", 0)), table=layout == "table")
