"""The Train tab without a browser: the form, the charts, the pages, and who may call what."""

from __future__ import annotations

import json
import re
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from helpers import grid_images

from explorer.actions.arguments import parser
from explorer.base.errors import InputError
from explorer.data.pairs import to_image
from explorer.jobs.processes import ProcessJobs, Run
from explorer.jobs.runlog import Story
from explorer.models.library import Library
from explorer.training.costs import Cost, measure
from explorer.ui.attack.tab import AttackTab
from explorer.ui.shell import PAIR, build
from explorer.ui.train.charts import MOST_POINTS, Series, line_chart, thin, ticks
from explorer.ui.train.form import FIVE_MINUTES, NAMES, OWN, PASSES, TrainForm, cost_sentence, read
from explorer.ui.train.tab import TrainTab, _buttons, _chosen, open_jobs
from explorer.ui.train.views import duration, gallery, panel, run_list, sentence

COST = Cost(start_s=10, step_s=2, probe_s=15, pictures=1000, batch=32)


def values(**changes: Any) -> list[Any]:
    given = {**dict.fromkeys(NAMES), **FIVE_MINUTES, **changes}
    return [given[name] for name in NAMES]


def test_the_form_starts_as_the_five_minute_preset(library: Library, tmp_path: Path) -> None:
    with gr.Blocks():
        form = TrainForm(library)
    shown = [component.value for component in form.components()]
    assert shown == form.preset() == values()
    draft = read(shown, tmp_path)
    assert (draft.base, draft.minutes, draft.passes) == ("pocket", 5, None)
    assert draft.recipe.eps == 1 / 255 and draft.budget == "5 minutes"
    assert draft.data == tmp_path / "emoji-kinds.parquet" and draft.data.is_file()
    assert not draft.copy and draft.model_name().startswith("pocket-tecoa-")
    assert draft.understood.startswith("Emoji by kind: 1,513 pictures")
    assert "8 different answers: “a picture of " in draft.understood
    assert draft.model_name() != draft.model_name()


def test_the_plan_is_what_the_command_reads(tmp_path: Path) -> None:
    """What the form asks for arrives at the training command as it is, to the last digit."""
    draft = read(values(data="emoji", method="mmcoa+", eps=2, inner_steps=3), tmp_path)
    assert draft.understood.startswith("Emoji by name: 1,513 pictures")
    assert "Measured on another set: 100 pictures" in draft.understood
    asked = draft.plan([tmp_path])
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(asked.told()))
    from explorer.training.command import make_plan

    def plan(*flags: str) -> Any:
        return make_plan(parser().parse_args(["train", "--plan", str(file), "--out", "x", *flags]))

    assert plan() == replace(asked, out=Path("x"))
    assert plan().recipe == draft.recipe and plan().minutes == 5
    assert (plan().base, plan().probe_images, plan().save_every) == (draft.base, 64, 25)
    assert plan().eval_data == str(draft.eval_data) and plan().folders == (tmp_path,)
    with pytest.raises(InputError, match="not both"):
        plan("--seed=1")
    file.write_text("{}")
    with pytest.raises(InputError, match="plan.json in x is damaged"):
        plan()
    file.unlink()
    with pytest.raises(InputError, match="holds no plan"):
        plan()


def test_minutes_become_steps_and_measurements() -> None:
    assert COST.probes(5) == 6 and COST.steps(5) == 100
    assert COST.seconds(COST.steps(5), COST.probes(5)) <= 5 * 60
    assert COST.probes(1) == 2 and COST.steps(1) == 10
    assert COST.warning(5) == COST.warning(1) == ""
    assert COST.steps(0.5) == 10
    assert COST.warning(0.5) == ("0.5 minutes are too few here: a step takes 2.0 s and a "
                                 "measurement 15 s, so it is 10 steps, in about 1 min.")
    assert COST.passes(125) == 4


def test_the_cost_in_words(tmp_path: Path) -> None:
    said = cost_sentence(read(values(), tmp_path), COST)
    assert "2.0 s (16.0 pictures/s)" in said and "100 steps, 3.2 passes over 1,000" in said
    said = cost_sentence(read(values(budget=PASSES, amount=2), tmp_path), COST)
    assert "2 passes over the data means 62 steps" in said
    draft = read(values(budget=PASSES, amount=2), tmp_path)
    assert draft.plan([]).recipe.epochs == 2 and draft.plan([]).minutes is None
    short = replace(COST, probe_s=200)
    assert cost_sentence(read(values(), tmp_path), short).startswith("5 minutes are too few here")


@pytest.mark.parametrize(("changes", "words"), [
    ({"data": OWN}, "choose a file"),
    ({"data": "../secrets"}, "choose a file"),
    ({"base": None}, "choose a model"),
    ({"amount": 0}, "more than 0"),
    ({"amount": None}, "for how long"),
    ({"amount": float("nan")}, "more than 0"),
    ({"amount": 1e9}, "at most 10,080 minutes"),
    ({"eps": -1}, "eps must be from 0"),
    ({"eps": "wide"}, "must be a number"),
    ({"method": "magic"}, "method must be one of"),
    ({"inner_steps": 1.5}, "attack steps a picture must be a whole number"),
    ({"batch": 1}, "pictures a step must be"),
    ({"lr": 0}, "lr must be above 0"),
    ({"depthwise": 2}, "depthwise_share must be"),
])
def test_mistakes_in_the_form_get_a_sentence(
    tmp_path: Path, changes: dict[str, Any], words: str,
) -> None:
    with pytest.raises(InputError, match=words):
        read(values(**changes), tmp_path)


def own_zip(path: Path, captions: tuple[str, ...]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        rows = ["image,caption"]
        for k, caption in enumerate(captions):
            picture = path.with_name(f"{k}.png")
            to_image(grid_images(1, 32, seed=k)[0]).save(picture)
            archive.write(picture, f"{k}.png")
            rows.append(f"{k}.png,{caption}")
        archive.writestr("list.csv", "\n".join(rows))
    return path


def test_an_upload_is_looked_into_before_anything_starts(tmp_path: Path) -> None:
    good = own_zip(tmp_path / "good.zip", ("a cat", "a dog", "a cat"))
    draft = read(values(data=OWN, file=str(good)), tmp_path)
    assert draft.copy and draft.data == good and draft.eval_data is None
    assert "good.zip: 3 pictures" in draft.understood and "“a cat”, “a dog”" in draft.understood
    same = own_zip(tmp_path / "same.zip", ("a cat", "a cat"))
    with pytest.raises(InputError, match="1 different caption"):
        read(values(data=OWN, file=str(same)), tmp_path)


def test_the_cost_is_measured_by_the_training_itself(tmp_path: Path) -> None:
    """With a child that keeps to the contract and takes 0.2 s a step and 0.5 s a measurement."""
    child = tmp_path / "child.py"
    child.write_text(
        "import json, sys, time\n"
        "from pathlib import Path\n"
        "out = Path(sys.argv[sys.argv.index('--out') + 1])\n"
        "def say(**told):\n"
        "    with open(out / 'log.jsonl', 'a') as file:\n"
        "        file.write(json.dumps({**told, 'time': time.time()}) + '\\n')\n"
        "(out / 'run.json').write_text(json.dumps({'started': time.time(), 'pictures': 50}))\n"
        "time.sleep(0.5); say(kind='probe', index=0, clean=0, robust=0)\n"
        "for index in (1, 2, 3):\n"
        "    time.sleep(0.2); say(kind='step', index=index, total=3)\n"
        "time.sleep(600)\n")
    plan = read(values(batch=8), tmp_path).plan([])
    *words, cost = measure(plan, (sys.executable, str(child)))
    assert isinstance(cost, Cost) and (cost.pictures, cost.batch) == (50, 8)
    assert 0.15 < cost.step_s < 0.6 and 0.4 < cost.probe_s < 1.5
    assert words and all("Measuring the cost" in str(word) for word in words)
    child.write_text("import sys; print('error: no such data', file=sys.stderr); sys.exit(2)")
    with pytest.raises(InputError, match="no such data"):
        list(measure(plan, (sys.executable, str(child))))


def probe(index: int, clean: float, robust: float, **more: Any) -> dict[str, Any]:
    return {"kind": "probe", "index": index, "clean": clean, "robust": robust, "n": 100,
            "eps_255": 1.0, "attack_steps": 10, **more}


def job(state: str = "running", steps: int = 3, folder: Path = Path(), **more: Any) -> Run:
    told = tuple({"kind": "step", "index": k, "total": 10,
                  "losses": {"image": 3 / k, "anchor": 0.1}, "images_per_s": 12.0,
                  "eta_s": 70.0} for k in range(1, steps + 1))
    probes = (probe(0, 0.2, 0.0), probe(3, 0.6, 0.45)) if steps else ()
    about = {"model": "pocket-<b>", "base": "pocket", "method": "tecoa", "data": "emoji",
             "eps": 1.0, "budget": "5 minutes"}
    story = Story(told, more.pop("probes", probes), (), None)
    return Run("20260101-000000-0000", "train", more.pop("owner", ""), "pocket-<b>", 1.0, folder,
               {"about": about}, state=state, story=story, **more)


@pytest.mark.parametrize(("state", "words"), [
    ("waiting", "Waiting"), ("running", "step 3 of 10: about 70 s left"), ("paused", "Paused"),
    ("stopping", "kept"), ("finished", "list of models"), ("failed", "the disk is full"),
    ("interrupted", "can go on"), ("stopped", "before it started"),
])
def test_every_state_has_a_sentence_and_its_buttons(state: str, words: str) -> None:
    one = job(state, text="the disk is full" if state == "failed" else "")
    assert words in sentence(one, 1)
    assert words in panel(one, 1)
    row, *buttons, printed = _buttons(one)
    assert row and printed and 1 <= sum(buttons) <= 2
    assert _buttons(None) == (False,) * 8


def test_a_panel_tells_all_and_escapes_it() -> None:
    page = panel(job())
    assert "pocket-<b>" not in page and "pocket-&lt;b&gt;" in page
    assert "20 % → 60 %" in page and "0 % → 45 %" in page and "12.0 pictures/s" in page
    assert page.count("<svg viewBox") == 2 and page.count('class="tr-key"') == 4
    assert "45.0 % (36 to 55)" in page  # the Wilson interval of 45 of 100
    assert "Starting" in sentence(job(steps=0))
    assert panel(None) == ""


def test_the_list_shows_places_in_the_queue() -> None:
    running, waiting = job(), job("waiting", steps=0)
    page = run_list([waiting, running], [waiting], waiting.id)
    assert "waiting, place 1" in page and page.count("<button") == 2
    assert "No run yet" in run_list([], [], "")
    assert _chosen([waiting, running], "") is running
    assert _chosen([waiting], "") is waiting and _chosen([], "") is None


def test_the_gallery_is_of_at_most_eight_moments(tmp_path: Path) -> None:
    to_image(grid_images(1, 16)[0]).save(tmp_path / "a.png")
    sample = {"attacked": "a.png", "truth": "</script>${x}", "said": "b", "attacked_said": "b",
              "attacked_probability": 0.7}
    many = tuple(probe(k, 0, 0, samples=[sample] * 3) for k in range(30))
    page = gallery(job(folder=tmp_path, probes=many))
    assert page.count("<img") == 3 and page.count('{"step":') == 8
    assert page.count("</script>") == 1 and "${" not in page
    assert '"step":0,' in page and '"step":29,' in page
    assert "wrong before: says “b” 70 %" in page
    one = gallery(job(folder=tmp_path / "gone", probes=many[:1]))
    assert 'max="0"' in one and "data:," in one
    assert gallery(job(probes=())) == gallery(None) == ""


def test_a_chart_says_in_words_what_it_draws() -> None:
    lines = [Series("clean", ((0, 0.2), (10, 0.6))), Series("<robust>", ((0, 0.0), (10, 0.3)))]
    chart = line_chart(lines, "Accuracy", "step", share=True)
    assert 'aria-label="Accuracy, by step: clean from 20 % at 0 to 60 % at 10; ' in chart
    assert "&lt;robust&gt;" in chart and "<robust>" not in chart
    ends = re.findall(r'points="([^"]+)"', chart)[0].split()
    first, last = ([float(v) for v in point.split(",")] for point in (ends[0], ends[-1]))
    assert first[0] == 46 and last[0] == 460 - 12
    assert first[1] > last[1] > 0 and "60 %" in chart
    assert "nothing measured" in line_chart([Series("a", ((0, float("nan")),))], "Loss", "step")


def test_long_lines_are_averaged() -> None:
    line = [(float(k), float(k % 2)) for k in range(10_000)]
    drawn = thin(line)
    assert len(drawn) <= MOST_POINTS + 1 and drawn[-1] == line[-1]
    assert all(0.4 < y < 0.6 for _, y in drawn[:-2])
    assert thin(line[:5]) == line[:5]


@pytest.mark.parametrize(("low", "high", "expected"), [
    (0, 1, [0, 0.25, 0.5, 0.75, 1]), (0, 0.2, [0, 0.05, 0.1, 0.15, 0.2]), (3, 3, [3]),
    (0, 189, [0, 50, 100, 150]),
])
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_times_for_people() -> None:
    assert [duration(s) for s in (40, 300, 9000)] == ["40 s", "5 min", "2.5 h"]


@pytest.mark.parametrize(("host", "asked", "on"), [
    ("127.0.0.1", False, True), ("localhost", False, True), ("::1", False, True),
    ("0.0.0.0", False, False), ("192.168.0.7", False, False), ("0.0.0.0", True, True),
])
def test_training_is_off_where_others_can_reach_it(
    tmp_path: Path, host: str, asked: bool, on: bool,
) -> None:
    library = Library()
    jobs, why = open_jobs(library, host, asked, tmp_path / "runs")
    assert (jobs is not None) == on == (tmp_path / "runs").exists()
    assert bool(why) != on and bool(library.folders) == on


def test_a_runs_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    jobs, why = open_jobs(Library(), "127.0.0.1", False, tmp_path / "runs")
    assert jobs is None and "Cannot make the folder" in why
    with pytest.raises(InputError, match="cannot make the folder"):
        open_jobs(Library(), "127.0.0.1", True, tmp_path / "runs")


def test_the_timer_goes_on_while_the_tab_is_open_and_a_run_is_not_over(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    code = f"import time, pathlib\nwhile not pathlib.Path({str(gate)!r}).exists(): time.sleep(.02)"
    jobs = ProcessJobs(tmp_path / "runs", (sys.executable, "-c", code))
    library = Library(folders=[jobs.models])
    with gr.Blocks() as demo, gr.Tabs() as tabs, gr.Tab("both"):
        tab = TrainTab(demo, library, AttackTab(demo, library, PAIR).desk, tabs, jobs)

    def look(is_open: bool | None, shown: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = tab._look("", is_open, shown, "")[-1]
        return found

    assert not look(True, {})["timer"]
    first, second = (jobs.train({}, tmp_path) for _ in range(2))
    opened = look(True, {})
    assert opened["timer"] and opened["id"] == first and not look(False, opened)["timer"]
    assert look(None, {})["timer"] is None  # a late first look switches nothing off
    assert look(True, look(None, opened))["timer"]
    same = tab._look("", True, look(True, opened), "")
    assert all(part == gr.skip() for part in same[:-1]), "what has not changed is not sent again"
    assert tab._look(second, True, opened, "")[-1]["id"] == second
    gate.touch()
    deadline = time.monotonic() + 60
    while look(True, opened)["timer"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_nothing_of_it_is_public_and_off_means_not_there(tmp_path: Path) -> None:
    off = build(Library(), why_off="Others could use it.")
    jobs = ProcessJobs(tmp_path, (sys.executable, "-c", ""))
    on = build(Library(folders=[jobs.models]), jobs=jobs)
    added = len(on.fns) - len(off.fns)
    assert added >= 12, "the tab wires its events only where training is on"
    assert all(fn.api_visibility == "private" for fn in on.fns.values())
    pages = [str(getattr(block, "value", "")) for block in off.blocks.values()]
    assert any("--enable-training" in page and "Others could use it." in page for page in pages)
