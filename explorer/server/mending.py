"""Two faults of the page's library that keep a browser busy for ever, mended as its files are sent.

Gradio 6.17's tab bar, as long as a tab was never opened, answers its own news: it measures itself
some 300 times a second once any event of the page's start has been answered. And its status line
goes on counting frames after it is taken away while something was waiting, as the first one of
every page is. Each is one place in one file, told by its text: another release of Gradio that has
not got that text is sent as it is, and a test says so.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from fastapi import Request, Response
from fastapi.routing import APIRoute


def _gradio() -> Path:
    """Where the library lies, found without importing it."""
    spec = importlib.util.find_spec("gradio")
    assert spec is not None and spec.submodule_search_locations
    return Path(next(iter(spec.submodule_search_locations)))


ASSETS = _gradio() / "templates" / "frontend" / "assets"
KEPT = "public, max-age=3600"  # the name is Gradio's, and so cannot tell our changes


@dataclass(frozen=True)
class Mend:
    """files: the names a fault may be in; wrong, right: text that is there once, and in its
    place."""

    files: str
    wrong: str
    right: str


MENDS = (
    # A tab that is told what it is already is no news.
    Mend("Walkthrough.svelte*.js", "t[s]&&!ae.has(s)&&J(l,e(l)[s]=t[s])",
         "t[s]&&!ae.has(s)&&e(l)[s]!==t[s]&&J(l,e(l)[s]=t[s])"),
    # A status line that is gone counts no frames.
    Mend("index-*.js", 'ge(()=>{e.status==="pending"?ht():at(()=>{wt()})})',
         'ge(()=>()=>{we=!1}),ge(()=>{e.status==="pending"?ht():at(()=>{wt()})})'),
)


def mended(folder: Path = ASSETS, mends: tuple[Mend, ...] = MENDS) -> dict[str, str]:
    """File name -> text with its faults mended, for the files of `folder` that have one."""
    found: dict[str, str] = {}
    for mend in mends:
        for path in sorted(folder.glob(mend.files)):
            text = found.get(path.name) or path.read_text(encoding="utf-8")
            if text.count(mend.wrong) == 1:
                found[path.name] = text.replace(mend.wrong, mend.right)
    return found


def routes(folder: Path = ASSETS) -> list[APIRoute]:
    """What answers for those files in Gradio's place; to stand before its own."""
    texts = mended(folder)

    def send(request: Request) -> Response:
        return Response(texts[request.url.path.rpartition("/")[2]], media_type="text/javascript",
                        headers={"cache-control": KEPT})

    return [APIRoute(f"/assets/{name}", send, methods=["GET", "HEAD"], include_in_schema=False)
            for name in texts]
