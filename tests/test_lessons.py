"""The lessons: texts in both languages, kept results against live ones, questions, progress."""

from __future__ import annotations

import json
import re
import string
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import gradio as gr
import pytest
from hypothesis import given
from hypothesis import strategies as st

from explorer.attacks.engine import Step
from explorer.base.errors import InputError
from explorer.base.settings import Settings
from explorer.data.examples import load_examples
from explorer.jobs.processes import ProcessJobs
from explorer.lessons import draw
from explorer.lessons.bench import Asked, Bench
from explorer.lessons.demos import PLANS, demo
from explorer.lessons.learning import METHODS, UPDATES, learned, train
from explorer.lessons.quiz import right
from explorer.lessons.record import FOLDER, Record, load, save
from explorer.lessons.texts import COUNT, HERE, LANGUAGES, texts
from explorer.models.library import Library
from explorer.results.views import esc
from explorer.server.gate import Gate
from explorer.ui.learn.live import LiveRuns
from explorer.ui.learn.state import Standing, answered, finished, read

PAIR = ("pocket", "pocket-robust")
NUMBERS = range(1, COUNT + 1)


@pytest.fixture(scope="module")
def library() -> Library:
    return Library()


def last(events: Iterator[Step | Record]) -> Record:
    *_, record = events
    assert isinstance(record, Record)
    return record


def shape(value: Any) -> Any:
    """What a translation has to keep: keys, lengths, numbers, and gaps in sentences."""
    if isinstance(value, dict):
        return {k: shape(v) for k, v in value.items() if k != "formula"}
    if isinstance(value, list):
        return [shape(v) for v in value]
    if isinstance(value, str):
        return sorted({name for _, name, _, _ in string.Formatter().parse(value) if name})
    return value


def test_every_language_says_the_same_things() -> None:
    english, *others = (json.loads((HERE / f"{language}.json").read_text("utf-8"))
                        for language in LANGUAGES)
    for other in others:
        for entry in (*english["lessons"], *other["lessons"]):  # braces of formulas are no gaps
            entry["symbols"] = [["", ""] for _ in entry["symbols"]]
        assert shape(other) == shape(english)
    assert set(texts().photos) == set(load_examples())
    with pytest.raises(InputError, match="not in 'fr'"):
        texts("fr")


def test_chinese_is_chinese() -> None:
    for lesson in texts("zh").lessons:
        for line in (lesson.title, *lesson.idea, *lesson.keep, lesson.predict.ask, lesson.live):
            assert re.search("[\u4e00-\u9fff]", line), line


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_lesson_is_whole(language: str) -> None:
    said = texts(language)
    assert len(said.lessons) == COUNT == len(PLANS)
    for lesson in said.lessons:
        plan = PLANS[lesson.number]
        assert set(lesson.options) == {*plan.options, *plan.trains}
        for question in (lesson.predict, lesson.check):
            assert len(question.options) == len(question.why) == 3
        assert 0 <= lesson.check_right <= 2 and lesson.sources and len(lesson.keep) == 3
        assert bool(lesson.formula) == bool(lesson.symbols)
        assert all(re.fullmatch(r"\d{4}\.\d{4,5}", number) for _, number in lesson.sources)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("number", NUMBERS)
def test_kept_results_are_drawn_in_every_language(language: str, number: int) -> None:
    """Every label and every fact that a page needs is there, and nothing is fetched."""
    said, record = texts(language), load(number)
    lesson = said.lesson(number)
    for chosen in (None, 0, 1, 2):
        page = draw.reveal(said, lesson, record, chosen)
        assert "{" not in page and 'src="http' not in page
    assert f'lang="{language}"' in page
    answer = lesson.predict.options[right(number, record.facts)]
    shown = draw.live(said, lesson, record).replace("\u00a0", " ")
    assert esc(answer) in shown
    assert esc(lesson.formula) in draw.idea(said, lesson)


@pytest.mark.parametrize("number", NUMBERS)
def test_kept_results_were_made_with_the_models_that_are_shipped(number: int) -> None:
    """If this fails, the models have changed: run python -m tools.lessons build."""
    record, cards = load(number), Library().cards()
    assert record.weights
    for name, value in record.weights.items():
        assert cards[name].sha256 == value, "run python -m tools.lessons build"


def test_a_kept_result_is_what_a_live_run_gives(library: Library) -> None:
    """Lesson 1 asks for no gradient, so its numbers are the same on every machine; lesson 2
    attacks in the device's own precision."""
    bench = Bench(library, PAIR)
    for number in (1, 2):
        plan, kept = PLANS[number], load(number)
        now = last(demo(number, bench, Asked(plan.photo, plan.options[0])))
        assert right(number, now.facts) == right(number, kept.facts)
        if number == 1:
            assert now.tables[0].head == kept.tables[0].head
            for row, before in zip(now.tables[0].rows, kept.tables[0].rows, strict=True):
                assert row[0] == before[0]
                for cell, old in zip(row[1:], before[1:], strict=True):
                    assert isinstance(cell, dict) and isinstance(old, dict)
                    for key in cell:
                        assert cell[key] == pytest.approx(old[key], abs=2e-3)
        for key in ("was", "right", "most"):
            assert now.facts.get(key) == kept.facts.get(key)
        assert (now.pictures[0][1] == kept.pictures[0][1]).all()


def test_an_own_caption_takes_part_and_a_scale_changes_probabilities(library: Library) -> None:
    bench = Bench(library, PAIR)
    record = last(demo(1, bench, Asked("cat", "1", "<b>my</b> ginger cat")))
    captions = [row[0] for row in record.tables[0].rows]
    assert "<b>my</b> ginger cat" in captions and record.facts["captions"] == 7
    page = draw.body(texts(), record)
    assert "&lt;b&gt;my" in page and "<b>my" not in page
    assert float(str(record.facts["chosen_p"]).split()[0]) < 30  # nearly even among seven


@pytest.mark.parametrize(("asked", "sentence"), [
    (Asked("unicorn", "own"), "no example photo"), (Asked("cat", "12"), "lesson 1 knows"),
    (Asked("cat", "own", "x" * 5000), "characters")])
def test_wrong_choices_get_a_sentence(library: Library, asked: Asked, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        last(demo(1, Bench(library, PAIR), asked))


@pytest.mark.parametrize(("lesson", "facts", "index"), [
    (1, {"best_cosine": 0.95}, 0), (1, {"best_cosine": 0.5}, 1), (1, {"best_cosine": 0.2}, 2),
    (2, {"right": True, "sure": 0.99}, 0), (2, {"right": False, "sure": 0.5}, 1),
    (2, {"right": False, "sure": 0.9}, 2),
    (3, {"right": False, "now": "a", "attack_now": "a"}, 0),
    (3, {"right": True, "now": "a", "attack_now": "b"}, 1),
    (3, {"right": False, "now": "a", "attack_now": "b"}, 2),
    (4, {"robust_level": 1}, 0), (4, {"robust_level": 3}, 1), (4, {"robust_level": 4}, 2),
    (4, {"robust_level": -1}, 2),
    (5, {"bert_now": "a", "clean": "a", "bert_lost": False}, 2),
    (5, {"bert_now": "b", "clean": "a", "bert_lost": True}, 1),
    (5, {"bert_now": "b", "clean": "a", "bert_lost": False}, 0),
    (6, {"robust_worst": "only_caption"}, 1), (6, {"robust_worst": "together"}, 2),
    (7, {"standard_clean_share": 0.5, "robust_clean_share": 0.75}, 0),
    (7, {"standard_clean_share": 0.5, "robust_clean_share": 0.5}, 1),
    (7, {"standard_card_clean": 0.7, "robust_card_clean": 0.6, "standard_clean_share": 0,
         "robust_clean_share": 1}, 2),
    (8, {"blind_pgd": 0, "blind_square": 0, "blind_transfer": 0}, 0),
    (8, {"blind_pgd": 0, "blind_square": 1, "blind_transfer": 0}, 1),
    (8, {"blind_pgd": 3, "blind_square": 3, "blind_transfer": 1}, 2),
    (9, {"plain": 6, "jpeg": 1, "jpeg_known": 3}, 0),
    (9, {"plain": 6, "jpeg": 2, "jpeg_known": 4}, 1),
    (9, {"plain": 6, "jpeg": 6, "jpeg_known": 6}, 2),
    (10, {"share": 0.25}, 0), (10, {"share": 0.5}, 1), (10, {"share": 0.75}, 2)])
def test_answers_come_from_the_numbers(lesson: int, facts: dict[str, Any], index: int) -> None:
    assert right(lesson, facts) == index


def test_feedback_says_right_and_wrong() -> None:
    said = texts()
    question = said.lesson(1).predict
    good = draw.feedback(said, question, 2, 2)
    bad = draw.feedback(said, question, 0, 2)
    assert "Right." in good and "The answer was" not in good
    assert "Not what happened." in bad and esc(question.options[2]) in bad
    assert "not made a prediction" in draw.feedback(said, question, None, 2)


def test_old_results_are_called_old() -> None:
    said = texts()
    fresh, stale = (draw.reveal(said, said.lesson(2), load(2), 0, s) for s in (False, True))
    assert "models have changed" in stale and "models have changed" not in fresh


def test_records_survive_the_disk(tmp_path: Path) -> None:
    for number in NUMBERS:
        record = load(number)
        save(record, tmp_path)
        again = load(number, tmp_path)
        assert again.tables == record.tables and again.bars == record.bars
        assert len(list(tmp_path.glob(f"{number}-*.png"))) == len(record.pictures)
    (tmp_path / "1.json").write_text("{", "utf-8")
    with pytest.raises(InputError, match="tools.lessons build"):
        load(1, tmp_path)


def test_kept_files_are_small() -> None:
    assert sum(p.stat().st_size for p in FOLDER.rglob("*") if p.is_file()) < 1_500_000


def test_progress_counts_and_marks() -> None:
    state = answered(Standing(lesson=3), 0, 2, 3)
    assert state.step == 3 and state.of(3) == (2, None) and not state.done(3)
    state = answered(state, 1, 1, 5)
    assert state.done(3) and finished(state) == 1
    assert read(json.loads(json.dumps(state.plain()))) == state


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["lang", "lesson", "step", "answers", "1", "3"]), inner, max_size=4),
    max_leaves=12)


@given(anything)
def test_whatever_the_browser_kept_gives_a_place(value: Any) -> None:
    state = read(value)
    assert state.lang in LANGUAGES and 1 <= state.lesson <= COUNT and 1 <= state.step <= 5
    assert read(state.plain()) == state


# -- live runs -----------------------------------------------------------------------------------


def visitor() -> gr.Request:
    return cast(gr.Request, SimpleNamespace(session_hash="me", headers={}, query_params={}))


def drive(runs: LiveRuns, lesson: int, name: str, option: str, lang: str = "en") -> list[Any]:
    ticket = runs.tickets.take(visitor())
    state = Standing(lang=lang, lesson=lesson).plain()
    return list(runs.go(visitor(), ticket, state, PAIR, name, option, ""))


def test_a_live_run_shows_its_numbers_in_the_language(library: Library) -> None:
    runs = LiveRuns(library, Gate(Settings(at_once=1)), None)
    *_, (said, page) = drive(runs, 1, "dog", "own", "zh")
    assert "完成" in said and "a photo of a spaniel" in page and "刚刚现场测得" in page


def test_a_stopped_run_says_so_and_frees_the_device(library: Library) -> None:
    gate = Gate(Settings(at_once=1))
    runs = LiveRuns(library, gate, None)
    ticket = runs.tickets.take(visitor())
    pages = runs.go(visitor(), ticket, Standing(lesson=3).plain(), PAIR, "cat", "1", "")
    next(pages)
    assert "Running step 1 of" in next(pages)[0]
    runs.halt(Standing().plain(), visitor())
    assert "Stopped." in list(pages)[-1][0]
    assert gate.turns.running() == 0
    assert "Nothing is running." in runs.halt(Standing().plain(), visitor())


def test_a_live_run_waits_for_its_turn(library: Library) -> None:
    gate = Gate(Settings(at_once=1))
    other = gate.turns.enter("somebody else")
    runs = LiveRuns(library, gate, None)
    ticket = runs.tickets.take(visitor())
    pages = runs.go(visitor(), ticket, Standing(lesson=1).plain(), PAIR, "cat", "own", "")
    next(pages)
    assert "1 before you" in next(pages)[0]
    gate.turns.leave(other)
    assert "Done." in list(pages)[-1][0]


def test_a_live_run_tells_mistakes_in_a_sentence(library: Library) -> None:
    runs = LiveRuns(library, Gate(Settings(at_once=1)), None)
    assert 'role="alert"' in drive(runs, 2, "cat", "99")[-1][0]
    assert "switched off" in drive(runs, 7, "cat", "train-tecoa")[-1][0]


def test_a_training_that_ends_early_says_so(tmp_path: Path, library: Library) -> None:
    jobs = ProcessJobs(tmp_path / "runs", command=(sys.executable, "-c", "pass"))
    events = train(Bench(library, PAIR), jobs, "tecoa", tmp_path, Asked("cat", "train-tecoa"))
    with pytest.raises(InputError, match="ended early"):
        last(events)
    assert jobs.list()[0].wish["plan"]["recipe"]["method"] == "tecoa"
    with pytest.raises(InputError, match="not 'magic'"):
        last(train(Bench(library, PAIR), jobs, "magic", tmp_path, Asked("cat", "train-magic")))


def test_stopping_a_training_ends_its_process(tmp_path: Path, library: Library) -> None:
    sleep = "import time; time.sleep(60)"
    jobs = ProcessJobs(tmp_path / "runs", command=(sys.executable, "-c", sleep))
    events = train(Bench(library, PAIR), jobs, "clip", tmp_path, Asked("cat", "train-clip"))
    next(events)
    assert jobs.list()[0].state == "running"
    cast(Any, events).close()
    for child in jobs._children:
        assert child.wait(60) != 0
    assert jobs.list()[0].state not in ("running", "paused", "waiting")


def test_a_training_is_told_by_its_measurements() -> None:
    before, after = ({"clean": 0.5, "robust": 0.1, "n": 32}, {"clean": 0.4, "robust": 0.3, "n": 32})
    steps = [{"index": i, "losses": {"tecoa": 2.0 - i / 100}} for i in range(1, UPDATES + 1)]
    record = learned("tecoa", Asked("cat", "train-tecoa"), steps, before, after, seconds=90.0)
    page = draw.live(texts(), texts().lesson(7), record)
    assert "1.5 minutes" in page and "50 %" in page and "30 %" in page and "1.60" in page


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_real_short_training(method: str, tmp_path: Path, library: Library) -> None:
    jobs = ProcessJobs(tmp_path / "runs")
    record = last(train(Bench(library, PAIR), jobs, method, tmp_path,
                        Asked("cat", f"train-{method}")))
    assert record.facts["updates"] == UPDATES and len(record.tables[0].rows) == 2
