"""Training runs as HTML: the list of them, one run's progress, its pictures over time."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from explorer.base.intervals import wilson
from explorer.jobs.job import LIVE
from explorer.jobs.processes import ProcessJobs, Run
from explorer.jobs.runlog import Event
from explorer.results.views import esc, percent, progress_bar, table
from explorer.ui.shared.states import badge, job_button, job_list, when
from explorer.ui.train.charts import Series, line_chart

MOST_LISTED = 50
MOST_FRAMES = 8  # moments of the gallery; of more, evenly spaced ones
NONE = """<section class="tr-off"><h3>No run yet</h3>
<p>Start trains a model against attacks, on this machine. The settings on the left are a preset of
five minutes. While it runs you see here how its loss falls, how many pictures it still names
rightly, clean and under attack, and three of them as they are attacked anew.</p>
<p>A run goes on when you close this page, and anybody who opens it sees the same runs.
When one ends, its model can be compared with the one it started from.</p></section>"""


def duration(seconds: float) -> str:
    """Time for a person: 40 s, 5 min, 2.5 h."""
    if seconds < 90:
        return f"{max(0.0, seconds):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def run_list(jobs: Sequence[Run], queue: Sequence[Run], chosen: str) -> str:
    """The runs as buttons, newest first; the chosen one pressed."""
    if not jobs:
        return NONE
    places = {job.id: k for k, job in enumerate(queue, 1)}
    rows = (_row(job, places.get(job.id, 0), job.id == chosen) for job in jobs[:MOST_LISTED])
    more = len(jobs) - MOST_LISTED
    rest = f'<p class="tr-none">and {more} older ones in the runs folder</p>' if more > 0 else ""
    return job_list("tr-runs", "Training runs", rows) + rest


def _row(job: Run, place: int, pressed: bool) -> str:
    more = f", place {place}" if place else ""
    return job_button(job, "tr-run", pressed, (
        f'{badge(job, "tr", more)}<b>{esc(job.title)}</b><span class="tr-when">'
        f'{esc(job.wish["about"].get("budget", ""))} · {esc(when(job))}</span>'))


def panel(job: Run | None, place: int = 0, beside: Run | None = None) -> str:
    """What a run is doing, in a sentence, its note, numbers and two charts; beside: another run,
    whose curves are drawn into the same charts."""
    if job is None:
        return ""
    step = job.story.step
    return (f'<section class="tr-panel" aria-label="Run {esc(job.title)}">'
            f'<header><h3>{esc(job.title)}</h3><span class="tr-about">{esc(_about(job))}</span>'
            f'</header><p class="tr-say">{esc(sentence(job, place))}</p>'
            f"{_written(job)}{_bar(step)}{_facts(job)}{_charts(job, beside)}{_numbers(job)}"
            f"{_notes(job)}</section>")


def _written(job: Run) -> str:
    """What its owner wrote about it."""
    return f'<p class="tr-written">{esc(job.note)}</p>' if job.note else ""


def _about(job: Run) -> str:
    about = job.wish["about"]
    words = [f"{about.get('base', '')} on {about.get('data', '')}", about.get("method", ""),
             f"ε {about['eps']:g}/255" if "eps" in about else "", about.get("budget", "")]
    return " · ".join(str(word) for word in words if word)


def sentence(job: Run, place: int = 0) -> str:
    """The state of a run in words."""
    step = job.story.step
    if job.is_example:
        return ("An example that came with the app, finished; its model did not come along. Move "
                "the slider under the pictures; Start on the left trains a model of your own.")
    reached = f"step {step['index']} of {step['total']}" if step else "its first step"
    if job.state == "waiting":
        before = f"{place - 1} before it, and the one that runs" if place > 1 else "it is the next"
        return f"Waiting for its turn: {before}."
    if job.state == "running" and step is None:
        return _starting(job)
    if job.state == "running" and step and step["index"] >= step["total"]:
        return "Its steps are done: measuring the model, and saving it …"
    if job.state == "running":
        return f"Training, at {reached}: about {duration(float((step or {})['eta_s']))} left."
    return {
        "paused": f"Paused after {reached}. Nothing is computed until it is resumed.",
        "stopping": f"Stopping at {reached}: the model is measured once more and kept. Pressing "
                    "again ends it at once; it can then go on from its last checkpoint.",
        "finished": f"Finished at {reached}. The model is in the list of models.",
        "failed": f"Failed: {job.text or 'it ended without a word; see what it printed'}.",
        "interrupted": f"Interrupted at {reached}: its process ended early. It can go on from its "
                       "last checkpoint.",
        "stopped": "Taken out of the queue before it started.",
    }[job.state]


def _starting(job: Run) -> str:
    """What it does before its first step."""
    if not job.story.probes:
        return ("Starting: opening the model and the data, and measuring how good it is now, "
                "clean and under attack …")
    if job.wish.get("plan", {}).get("minutes"):
        return "Measured; timing a few steps, to see how many fit into the minutes …"
    return "Measured; on its first step …"


def _bar(step: Event | None) -> str:
    if step is None:
        return ""
    return progress_bar("Steps done", step["index"], step["total"])


def _facts(job: Run) -> str:
    facts = []
    step, probes = job.story.step, job.story.probes
    if probes:
        first, last = probes[0], probes[-1]
        for key, word in (("clean", "Clean accuracy"), ("robust", "Under attack")):
            was, now = (f"{p[key] * 100:.0f} %" for p in (first, last))
            facts.append((word, f"{was} → {now}" if last is not first else was))
    if step is not None:
        facts.append(("Speed", f"{step['images_per_s']:.1f} pictures/s"))
        if job.state in LIVE:
            facts.append(("Time left", duration(float(step["eta_s"]))))
        if step.get("unreadable"):
            facts.append(("Left out", f"{step['unreadable']} unreadable pictures"))
    if not facts:
        return ""
    cells = "".join(f"<div><dt>{esc(k)}</dt><dd>{esc(v)}</dd></div>" for k, v in facts)
    return f'<dl class="tr-facts">{cells}</dl>'


def _charts(job: Run, beside: Run | None) -> str:
    runs = [job, *([beside] if beside else [])]
    if not any(run.story.steps or run.story.probes for run in runs):
        return ""
    accuracy = [line for run in runs for line in _accuracy(run, runs)]
    losses = [line for run in runs for line in _losses(run, runs)]
    measured = _measured(job.story.probes)
    return ('<div class="tr-charts">'
            + line_chart(accuracy, f"Accuracy on {measured}", "step", share=True)
            + line_chart(losses, "Loss, by its terms", "step") + "</div>")


def _of(run: Run, runs: Sequence[Run]) -> str:
    """What tells a line from another run's."""
    return f", {run.title}" if len(runs) > 1 else ""


def _accuracy(run: Run, runs: Sequence[Run]) -> list[Series]:
    return [Series(word + _of(run, runs), tuple((float(p["index"]), float(p[key]))
                                                for p in run.story.probes))
            for key, word in (("robust", "under attack"), ("clean", "clean"))]


def _losses(run: Run, runs: Sequence[Run]) -> list[Series]:
    steps = run.story.steps
    names = list(dict.fromkeys(name for s in steps for name in s["losses"]))
    return [Series(name + _of(run, runs), tuple((float(s["index"]), float(s["losses"][name]))
                                                for s in steps if name in s["losses"]))
            for name in names]


def _measured(probes: Sequence[Event]) -> str:
    if not probes:
        return "held-out pictures"
    last = probes[-1]
    return (f"{last['n']} held-out pictures, clean and under PGD-{last.get('attack_steps', 10)} "
            f"at ε {last.get('eps_255', 1):g}/255")


def _numbers(job: Run) -> str:
    """Each measurement with its 95 % interval, for who does not read charts."""
    rows = []
    for probe in job.story.probes:
        cells = [f"step {probe['index']}"]
        for key in ("clean", "robust"):
            low, high = wilson(round(probe[key] * probe["n"]), probe["n"])
            cells.append(f"{probe[key] * 100:.1f} % ({low * 100:.0f} to {high * 100:.0f})")
        rows.append(cells)
    if not rows:
        return ""
    shown = table(["After", "Clean accuracy (95 % interval)", "Under attack (95 % interval)"], rows,
                  f"Measurements on {_measured(job.story.probes)}")
    return f'<details class="tr-table"><summary>Measurements as a table</summary>{shown}</details>'


def _notes(job: Run) -> str:
    notes = "".join(f"<li>{esc(n.get('text', ''))}</li>" for n in job.story.notes[-5:])
    return f'<ul class="tr-notes">{notes}</ul>' if notes else ""


def gallery(job: Run | None) -> str:
    """The three sample pictures as attacked at each measurement, with a slider through time."""
    moments = [p for p in job.story.probes if p.get("samples")] if job else []
    if job is None or not moments:
        return ""
    kept = moments[-1:] if len(moments) == 1 else [
        moments[round(k * (len(moments) - 1) / (min(MOST_FRAMES, len(moments)) - 1))]
        for k in range(min(MOST_FRAMES, len(moments)))]
    frames = [{"step": p["index"], "shown": [_shown(job.folder, s) for s in p["samples"]]}
              for p in kept]
    last = frames[-1]
    figures = "".join(
        f'<figure><img src="{shown["image"]}" alt="{esc(shown["alt"])}"><figcaption>'
        f'<span class="tr-truth">{esc(shown["truth"])}</span>'
        f'<span class="tr-said {shown["kind"]}">{esc(shown["said"])}</span></figcaption></figure>'
        for shown in last["shown"])
    data = _script_json(frames)
    top = len(frames) - 1
    return (f'<section class="tr-gallery" data-run="{esc(job.id)}" aria-label="Sample pictures">'
            "<h4>Three held-out pictures, attacked anew as the model hardens</h4>"
            f'<div class="tr-frames">{figures}</div>'
            f'<label class="tr-time">After step <output>{last["step"]}</output>'
            f'<input type="range" min="0" max="{top}" value="{top}" step="1" '
            'aria-label="Moment of the training"></label>'
            f'<script type="application/json">{data}</script></section>')


def _script_json(value: Any) -> str:
    """JSON for a script element, without the signs that a page or its templates would read."""
    text = json.dumps(value, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("$", "\\u0024")


def _shown(folder: Path, sample: dict[str, Any]) -> dict[str, str]:
    held = sample["attacked_said"] == sample["truth"]
    wrong = sample["said"] != sample["truth"]
    kind = "tr-held" if held else "tr-wrong" if wrong else "tr-fooled"
    word = {"tr-held": "✓ held", "tr-wrong": "! wrong before", "tr-fooled": "✗ fooled"}[kind]
    sure = percent(float(sample["attacked_probability"]))
    return {"image": _uri(folder, sample["attacked"]), "kind": kind, "truth": sample["truth"],
            "said": f"{word}: says “{sample['attacked_said']}” {sure}",
            "alt": f"Attacked picture of: {sample['truth']}"}


def _uri(folder: Path, name: str) -> str:
    """A picture of the run's folder as a data URI; none when it is gone."""
    path = folder / name
    if not path.exists():
        path = path.with_suffix(".webp")  # in what comes with the app
    try:
        raw = path.read_bytes()
    except OSError:
        return "data:,"
    kind = "webp" if path.suffix == ".webp" else "png"
    return f"data:image/{kind};base64," + base64.b64encode(raw).decode()


def notice(why: str) -> str:
    """That nothing can be trained here, and how to change it."""
    return ('<section class="tr-off"><h3>Training is switched off</h3>'
            f"<p>{esc(why)} Whoever runs the server can switch it on: "
            "<code>python app.py --enable-training</code>. It is on by itself where the app "
            "listens on this machine alone.</p><p>The same training runs from the command line: "
            "<code>python -m explorer train --help</code>.</p></section>")


def listing(jobs: ProcessJobs) -> tuple[list[Run], list[Run]]:
    """All runs, and those that wait, from one look at the folder."""
    found = list(jobs.shown(None, "train"))
    waiting = [job for job in found if job.state == "waiting"]
    return found, sorted(waiting, key=lambda job: (job.place, job.id))
