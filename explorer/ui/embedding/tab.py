"""The Embedding space tab: two maps side by side, linked to the last attack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import gradio as gr

from explorer.analysis.embedding.saliency import METHODS
from explorer.analysis.embedding.state import MOST_ATTACKED, MOST_OWN, UPLOADS
from explorer.analysis.embedding.umaps import METRICS
from explorer.base.settings import Settings
from explorer.base.store import Store
from explorer.models.library import Library
from explorer.results.outcome import Outcome
from explorer.server.gate import Gate
from explorer.server.kept import Kept
from explorer.ui.embedding import near as space_near
from explorer.ui.embedding.jobs import LASSO, SAMPLE, SpaceJobs
from explorer.ui.embedding.scene import Panels
from explorer.ui.shared.plotly import LOADER, plotly_js
from explorer.ui.shared.runs import LIGHT, PLAIN, heavy

HERE = Path(__file__).parent


def read(name: str) -> str:
    return (HERE / name).read_text("utf-8")


def _address(script: Path, kept: Kept | None) -> str:
    """Where the page gets a script from: by Gradio where nothing else keeps files, or where the
    disk is full."""
    if kept is not None:
        with suppress(OSError):
            return kept.own(script.read_bytes(), "text/javascript")
    gr.set_static_paths([script])
    return f"/gradio_api/file={script.as_posix()}"


class SpaceTab:
    """Builds the tab's components and wires them; put it inside a gr.Tab. gate: what heavy events
    pass; finished: attacks on examples that anybody may see. Call `follow` with the event that
    ends an attack."""

    def __init__(self, demo: gr.Blocks, library: Library, store: Store[Outcome],
                 pair: tuple[str, ...] | None = None, gate: Gate | None = None,
                 kept: Kept | None = None,
                 finished: Callable[[], Sequence[Outcome]] = list) -> None:
        pair = pair or next(iter(library.pairs()), tuple(list(library.cards())[:1]))
        self.scene = Panels(library, store, pair, finished)
        self.jobs = SpaceJobs(self.scene, gate or Gate(Settings()))
        plotly = _address(plotly_js(), kept)
        self._controls()
        code = LOADER + read("space_flat.js") + read("space_marks.js") + read("space.js")
        page = read("space.html").replace("@STYLE@", read("space.css")).replace(
            "@PLOTLY@", plotly)
        with gr.Row(equal_height=False, elem_id="sp-main"):
            with gr.Column(scale=9, min_width=600):
                self.stage = gr.HTML("", html_template=page, js_on_load=code,
                                     elem_id="sp-stage", **PLAIN)
            with gr.Column(scale=3, min_width=250):
                self.finder = gr.HTML(read("finder.html"), elem_id="sp-find", **PLAIN)
                self.details = gr.HTML(space_near.HINT, elem_id="sp-details", **PLAIN)
        self.numbers = gr.HTML("", elem_id="sp-numbers", **PLAIN)
        self._many()
        self._saliency()
        self._wire()

    def _controls(self) -> None:
        self.sentence = gr.HTML("", elem_id="sp-sentence", **PLAIN)
        self.sheet = gr.HTML("", html_template='<div data-sheet="${value}" hidden></div>',
                             js_on_load=None, elem_id="sp-sheet", **PLAIN)
        self.status = gr.HTML("", elem_id="sp-status", **PLAIN)
        with gr.Row(elem_id="sp-controls"):
            self.projection = gr.Radio(
                [("plane of the attack", "plane"), ("PCA", "pca"), ("UMAP", "umap")], value="plane",
                label="Projection", elem_id="sp-projection", scale=4)
            self.dims = gr.Radio([("2-D", 2), ("3-D", 3)], value=2, label="Dimensions",
                                 elem_id="sp-dims", scale=2, min_width=120)
            self.centre = gr.Checkbox(
                False, label="Centre each modality", elem_id="sp-centre", scale=2, min_width=180)
            self.k = gr.Slider(1, 50, 10, step=1, label="Neighbours k", scale=3, min_width=140)
            self.landmarks = gr.Dropdown(
                [("things and sentences", "both"), ("things", "things"),
                 ("sentences", "sentences")], value="both", label="Landmarks",
                elem_id="sp-landmarks", scale=2, min_width=150)
        with gr.Row(visible=False) as self.umap:
            self.near = gr.Slider(2, 100, 15, step=1, label="n_neighbors",
                                  info="small: fine structure; large: the whole")
            self.min_dist = gr.Slider(0, 0.99, 0.1, step=0.01, label="min_dist",
                                      info="how tightly points may be packed")
            self.metric = gr.Dropdown(list(METRICS), value="cosine", label="metric")
            self.seed = gr.Number(0, label="seed", precision=0, minimum=0)
        self.view = [self.projection, self.dims, self.centre, self.near, self.min_dist,
                     self.metric, self.seed, self.k, self.landmarks]

    def _many(self) -> None:
        with gr.Accordion("Many at once: your own pictures", open=False, elem_id="sp-many"):
            gr.HTML(f"<p>Up to {MOST_OWN:,} pictures as a zip (in folders by class, or with a CSV "
                    "of the columns image and caption beside them) or a parquet file. They stay "
                    "in this server’s memory for your visit.</p>", **PLAIN)
            with gr.Row():
                self.file = gr.File(label="Zip or parquet file", file_types=list(UPLOADS),
                                    height=110, elem_id="sp-file")
                with gr.Column():
                    self.which = gr.Radio([SAMPLE, LASSO], value=SAMPLE, label="Attack which")
                    self.contains = gr.Textbox("", label="Only captions that contain", max_lines=1)
                with gr.Column():
                    self.count = gr.Slider(1, MOST_ATTACKED, 32, step=1, label="At most, pictures")
                    self.eps = gr.Slider(0, 16, 1, step=0.5, label="Budget ε, grey levels of 255")
            with gr.Row():
                self.put = gr.Button("Put them on the map", elem_id="sp-put")
                self.attack = gr.Button("Attack them (PGD, 10 steps)", elem_id="sp-attack")
                self.stop = gr.Button("Stop", elem_id="sp-stop")
            self.many_said = gr.HTML("", elem_id="sp-many-said", **PLAIN)
            self.many = gr.HTML("", elem_id="sp-many-table", **PLAIN)

    def _saliency(self) -> None:
        with gr.Accordion("Saliency: where the similarity comes from", open=False,
                          elem_id="sp-saliency"):
            with gr.Row():
                self.caption = gr.Dropdown(
                    [], label="Similarity to the caption (none: the true one)",
                    elem_id="sp-caption", scale=3)
                self.method = gr.Radio(
                    [("gradient: how strongly each pixel acts", METHODS[0]),
                     ("occlusion: what covering a square costs", METHODS[1])], value=METHODS[0],
                    label="Method", scale=4)
                self.draw = gr.Button("Draw the maps", elem_id="sp-draw", scale=1)
                self.halt = gr.Button("Stop", scale=1, min_width=80)
            self.maps_said = gr.HTML("", elem_id="sp-maps-said", **PLAIN)
            self.maps = gr.HTML("", elem_id="sp-maps", **PLAIN)

    def _wire(self) -> None:
        late = {**heavy("space"), "trigger_mode": "multiple"}
        self.ticket = gr.State(0)
        self.drawn = [self.stage, self.sentence, self.numbers, self.caption]
        stage = cast(Any, self.stage)
        show: dict[str, Any] = {"fn": self.scene.show, "inputs": self.view, "outputs": self.drawn,
                                "trigger_mode": "always_last", **LIGHT}
        stage.opened(**show)
        for control in self.view:
            cast(Any, control).change(**show)
        self.projection.change(lambda chosen: gr.update(visible=chosen == "umap"), self.projection,
                               self.umap, **LIGHT)
        again = {k: v for k, v in show.items() if k != "trigger_mode"}
        ready = stage.prepare(self.jobs.tickets.take, None, self.ticket, **LIGHT)
        ready.then(self.jobs.prepare, self.ticket, self.status, **late).then(**again)
        stage.pick(self._pick, [self.k, self.landmarks], self.details,
                   trigger_mode="always_last", **LIGHT)
        stage.lasso(self._lasso, self.landmarks, self.details, trigger_mode="always_last", **LIGHT)
        put = self.put.click(self.jobs.tickets.take, None, self.ticket, **LIGHT)
        put.then(self.jobs.put, [self.ticket, self.file], [self.many_said, self.sheet],
                 **late).then(**again)
        attack = self.attack.click(self.jobs.tickets.take, None, self.ticket, **LIGHT)
        slice_of = [self.ticket, self.which, self.contains, self.count, self.eps]
        attack.then(self.jobs.attack, slice_of, [self.many_said, self.many], **late).then(**again)
        draw = self.draw.click(self.jobs.tickets.take, None, self.ticket, **LIGHT)
        draw.then(self.jobs.draw, [self.ticket, self.method, self.caption],
                  [self.maps_said, self.maps], **late)
        for button, said in ((self.stop, self.many_said), (self.halt, self.maps_said)):
            button.click(self.jobs.stop, None, said, **LIGHT)

    def follow(self, event: Callable[..., Any]) -> None:
        """Draws the new arrows whenever `event` fires, such as `run.then` or a button's click."""
        event(self.scene.show, self.view, self.drawn, **LIGHT)

    def _pick(self, event: gr.EventData, request: gr.Request, k: float, landmarks: str) -> str:
        known, attacks = self.scene.known(str(request.session_hash), landmarks)
        return space_near.picked(str(event._data.get("key", "")), known, attacks, int(k))

    def _lasso(self, event: gr.EventData, request: gr.Request, landmarks: str) -> str:
        keys = event._data.get("keys", [])
        keys = [str(key) for key in keys[: 2 * MOST_OWN]] if isinstance(keys, list) else []
        self.jobs.lassos.put(str(request.session_hash), keys)
        known, attacks = self.scene.known(str(request.session_hash), landmarks)
        return space_near.lassoed(keys, known[0][1], attacks[0]) if known else space_near.HINT
