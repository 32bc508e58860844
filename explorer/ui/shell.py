"""The page around the tabs, and how it is served: theme, header, models opened in the background,
the guard before it."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr
import gradio.queueing
import gradio.routes
from fastapi import FastAPI
from gradio.processing_utils import save_file_to_cache
from gradio.state_holder import SessionState
from starlette.middleware.gzip import GZipMiddleware

from explorer.actions.service import Service
from explorer.base.device import describe_device
from explorer.base.settings import Settings, unknown
from explorer.data.examples import FOLDER
from explorer.jobs.processes import ProcessJobs
from explorer.jobs.threads import ThreadJobs
from explorer.models.fast.convolution import keep_memory
from explorer.models.library import Library
from explorer.results.views import esc
from explorer.server import mending
from explorer.server.auth import Accounts
from explorer.server.gate import Gate
from explorer.server.guards import Guard, served_names
from explorer.server.keeping import Keeping
from explorer.server.kept import Kept
from explorer.server.logs import QuietTraceback, configure, say
from explorer.server.rules import keeper_alone
from explorer.server.serve import Health, end_tidily, serve
from explorer.server.starting import Doorman
from explorer.server.visitors import Visitors
from explorer.ui.api.endpoints import Api, is_open
from explorer.ui.api.mcp import Tools
from explorer.ui.arrival import Arrival
from explorer.ui.attack.tab import AttackTab
from explorer.ui.embedding.tab import SpaceTab
from explorer.ui.evaluate.tab import EvaluateTab
from explorer.ui.failures.tab import FailuresTab
from explorer.ui.learn.tab import LearnTab
from explorer.ui.shared.runs import PLAIN
from explorer.ui.shared.works import open_works
from explorer.ui.story import Story, Taker
from explorer.ui.train.tab import TrainTab, open_jobs
from explorer.ui.warming import warm

HERE = Path(__file__).parent
PAIR = ("pocket", "pocket-robust")
SYSTEM = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")
MONO = ("ui-monospace", "SF Mono", "Menlo", "Consolas", "monospace")
LIGHT_THREADS = 48  # for all that does not wait for the device
CLOSED = "closed"  # a demonstration without training and files
NO_TRAINING = "This is a demonstration: training is switched off."
TEMPORARY = "clip-explorer-"
SCRIPT = re.compile(r"<script[^>]*>(.*?)</script>", re.DOTALL)


def theme() -> gr.themes.Base:
    """One look for light and dark, in fonts that every system has."""
    return gr.themes.Base(
        primary_hue="slate", secondary_hue="slate", neutral_hue="slate",
        font=list(SYSTEM), font_mono=list(MONO), radius_size="sm", spacing_size="sm",
        text_size="md",
    ).set(button_primary_background_fill="#1f2937", button_primary_background_fill_hover="#111827",
          button_primary_text_color="#ffffff", button_primary_background_fill_dark="#e5e7eb",
          button_primary_background_fill_hover_dark="#ffffff",
          button_primary_text_color_dark="#111827")


def header() -> str:
    return ('<header class="rx-title"><h1>CLIP robustness explorer</h1>'
            "<p>Change a photo by less than the eye can see, and watch a standard and an "
            "adversarially fine-tuned CLIP answer.</p>"
            f'<p class="rx-device">{esc(describe_device())}</p></header>')


@contextmanager
def _app_later() -> Iterator[None]:
    """Gradio makes a web app of a page when it is begun, when it is finished, and again by `queue`:
    only the last one is ever asked."""
    app: Any = gradio.routes.App
    made, app.create_app = app.create_app, staticmethod(lambda *_, **__: None)
    try:
        yield
    finally:
        app.create_app = staticmethod(made)


def build(library: Library, pair: tuple[str, str] = PAIR, settings: Settings | None = None,
          gate: Gate | None = None, jobs: ProcessJobs | None = None, why_off: str = "",
          works: ThreadJobs | None = None, service: Service | None = None,
          kept: Kept | None = None, keeping: Keeping | None = None) -> gr.Blocks:
    """The whole page. gate: what its heavy events pass; jobs: the training runs, None where
    training is off; works: other long work; service: what programs may call, None for nothing;
    kept: where results' pictures go, None for into the page; keeping: told of what is remembered.
    What is None and needed is made for this page."""
    gate = gate or Gate(settings or Settings())
    works = works or open_works(library, gate, settings)
    settings = settings or Settings()
    demo: gr.Blocks
    with _app_later(), gr.Blocks(title="CLIP robustness explorer", analytics_enabled=False,
                                 delete_cache=(60, settings.keep_seconds)) as demo:
        if service is not None:
            Api(service, gate)  # first, so that no event of the page has the names
        gr.HTML(header(), **PLAIN)
        story, finished = Story(), gr.HTML("", elem_id="rx-finished", **PLAIN)
        with gr.Tabs() as tabs:
            with gr.Tab("Attack", id="attack"):
                attack = AttackTab(demo, library, pair, gate=gate, kept=kept, works=works,
                                   data=settings.data, finished=finished)
                desk = attack.desk
            with gr.Tab("Embedding space", id="space"):
                space = SpaceTab(demo, library, desk.store, pair, gate, kept,
                                 attack.running.cases.outcomes)
                space.follow(desk.finished.change)
            with gr.Tab("Failures", id="failures"):
                failures = FailuresTab(demo, library, desk, tabs, works, gate, settings.data)
            with gr.Tab("Evaluate", id="evaluate"):
                evaluate = EvaluateTab(demo, library, tabs, works, gate, pair, settings.data)
            with gr.Tab("Train", id="train"):
                train = TrainTab(demo, library, desk, tabs, jobs, why_off, settings.training)
            with gr.Tab("Learn", id="learn"):
                learn = LearnTab(library, pair, gate, jobs)
            evaluate.follow()
        failures.follow()
        arrival = Arrival(demo, tabs, library, attack, learn, story.line, settings.preset,
                          hide=("train",) if settings.demo == CLOSED else ())
        forms: dict[str, Taker] = {"failures": failures.form, "evaluate": evaluate.form}
        if jobs is not None:
            forms["train"] = train.form
        story.wire(tabs, desk, forms, arrival.plain)
        if service is not None:
            service.spaces = space.scene.spaces  # read once for both
    if keeping is not None:
        keeping.holds("models", library.weights_bytes, lambda: library.rest(pair))
        keeping.holds("features", library.features_bytes)
        keeping.holds("maps", space.scene.spaces.kept_bytes)
    demo.max_threads = settings.waiting + LIGHT_THREADS
    demo.queue(max_size=2 * settings.waiting, default_concurrency_limit=8, api_open=False)
    return demo


def _head(demo: str = "off") -> str:
    """Styles and scripts inline: Gradio would confine a css= argument to the inner page. demo: as
    Settings has it."""
    style, script, big = (_own(name) for name in ("style.css", "script.js", "big.js"))
    head = (f'<style id="rx-look">{style}</style><script id="rx-code">{script}</script>'
            f"<style>{_own('phone.css')}</style><script>{big}</script>")
    if demo == "off":
        return head
    marks = "'rx-demo', 'rx-closed'" if demo == CLOSED else "'rx-demo'"
    return (f"{head}<style>{_own('demo.css')}</style>"
            f"<script>document.documentElement.classList.add({marks});</script>"
            f"<script>{_own('demo.js')}</script>")


def _own(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def script_hashes(*sources: str) -> tuple[str, ...]:
    """For the content policy: the scripts in pieces of HTML that Gradio adds to its page later."""
    found = sorted({s for html in sources for s in SCRIPT.findall(html) if s.strip()})
    digests = (hashlib.sha256(s.encode()).digest() for s in found)
    return tuple(f"sha256-{base64.b64encode(d).decode()}" for d in digests)


def mount(demo: gr.Blocks, health: Health, settings: Settings, host: str, folder: Path,
          tools: Tools | None = None, kept: Kept | None = None) -> Guard:
    """The page, /health, /metrics and tools as one app behind the guard. folder: for uploads."""
    routes = [*mending.routes(), *health.routes(), *(tools.routes() if tools else []),
              *(kept.routes() if kept else [])]
    outer = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, routes=routes,
                    lifespan=tools.lifespan if tools else None)
    gr.mount_gradio_app(
        outer, demo, "/", root_path=settings.root_path.rstrip("/") or None, show_error=False,
        allowed_paths=[str(FOLDER)], max_file_size=settings.upload_bytes, ssr_mode=False,
        footer_links=["settings"], theme=theme(), head=_head(settings.demo), mcp_server=False,
        pwa=False, enable_monitoring=False)
    demo.has_launched = True  # without it, a mounted app skips its check of the files it is sent
    for module in (gradio.queueing, gradio.routes):  # they print exceptions that quote the input
        module.traceback = QuietTraceback()  # type: ignore[attr-defined]
    # Gradio copies each answer into a page that it keeps for each visitor, for links that are not
    # offered here, and adds a copy whenever a component was updated before: memory without end.
    SessionState._update_value_in_config = _keeps_nothing  # type: ignore[assignment, method-assign]
    inputs = {number: len(fn.inputs) for number, fn in demo.fns.items()}
    heads = [str(getattr(block, "head", None) or "") for block in demo.blocks.values()]
    public = [save_file_to_cache(photo, str(folder)) for photo in sorted(FOLDER.glob("*.jpg"))]
    holder = next(b for b in demo.blocks.values() if hasattr(b, "keep_in_cache"))
    holder.keep_in_cache.update(public)  # else they go when they are as old as an upload may be
    packed = GZipMiddleware(outer, minimum_size=2_000, compresslevel=5)
    return Guard(packed, settings, Accounts.from_settings(settings), health.gate.meters, inputs,
                 folder, script_hashes(_head(settings.demo), *heads), served_names(settings, host),
                 Visitors(public=public), kept)


def _keeps_nothing(state: SessionState, key: int, value: Any) -> None:
    """In place of what would remember a component's value."""


def _folder() -> Path:
    """A fresh folder for uploads; those that servers which were killed left behind go."""
    for old in Path(tempfile.gettempdir()).glob(f"{TEMPORARY}*"):
        owner = old.name.removeprefix(TEMPORARY).partition("-")[0]
        if owner.isdigit() and not _alive(int(owner)):
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{TEMPORARY}{os.getpid()}-"))


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # somebody else's
    return process != os.getpid()


def run(library: Library, settings: Settings, host: str, doorman: Doorman) -> None:
    """Serves the app on the doorman's socket until it is told to end. Raises InputError for wrong
    settings, OSError for files that are missing or cannot be written."""
    bound = doorman.bound
    keep_memory()  # before the first thread
    end_tidily()
    configure(level=30 if sys.stderr.isatty() else 20)
    for name in unknown(os.environ):
        say("there is no such setting", 30, setting=name)
    folder = _folder()
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    try:
        gate = Gate(settings)
        health = Health(gate, library.loaded)
        own = keeper_alone(settings, host)
        jobs, why_off = (None, NO_TRAINING) if settings.demo == CLOSED else open_jobs(
            library, host if own else "", settings.training, Path(settings.runs))
        service = Service(library, root=settings.data, work=folder)
        tools = Tools(service, gate, settings) if settings.mcp else None
        kept = Kept(folder, settings.keep_seconds, settings.root_path)
        keeping = Keeping(gate)
        demo = build(library, settings=settings, gate=gate, jobs=jobs, why_off=why_off, kept=kept,
                     service=service if is_open(settings, host) else None, keeping=keeping)
        guard = mount(demo, health, settings, host, folder, tools, kept)

        def listening() -> None:
            shown = f"[{host}]" if ":" in host else host
            at = f"{shown}:{bound.getsockname()[1]}{settings.root_path}"
            print(f"The app is at http://{at}/ (Ctrl+C ends it)", flush=True)
            warm(library, PAIR, health)

        doorman.leave()
        try:
            serve(guard, bound, listening, keeping.look)
        finally:
            gate.close()
    finally:
        bound.close()
        shutil.rmtree(folder, ignore_errors=True)


def launch_options() -> dict[str, Any]:
    """Theme, styles and limits for Blocks.launch, as a notebook would show the page."""
    return {
        "theme": theme(), "head": _head(),
        "max_file_size": Settings.upload_bytes, "show_error": False, "footer_links": ["settings"],
        "ssr_mode": False, "allowed_paths": [str(FOLDER)],
    }
