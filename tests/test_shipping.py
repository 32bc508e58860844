"""What comes with the app is what the app asks for now; says what is stale."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import numpy as np
import pytest

from explorer.analysis.embedding.landmarks import (
    concepts,
    known_landmarks,
    known_pictures,
    landmark_name,
    named,
    sentences,
)
from explorer.analysis.evaluation.work import table_of
from explorer.analysis.failures.pictures import attacked_picture, clean_picture
from explorer.analysis.failures.slices import read_hunt
from explorer.base.errors import InputError
from explorer.base.paths import EXAMPLES, SHIPPED
from explorer.data.examples import load_examples
from explorer.jobs.job import EXAMPLE, FINISHED, Job, write_job
from explorer.jobs.runlog import RunLog
from explorer.jobs.threads import ThreadJobs
from explorer.models.library import Library
from tools.shipping import MODELS, MOST, NOTICE, Shipped, ship, stale, things


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EXPLORER_CACHE", str(tmp_path / "cache"))


def test_nothing_shipped_is_stale(library: Library, bare: None) -> None:
    """Fails when the models, landmarks, photos or maps have changed: run `make shipped`."""
    assert stale(things(library)) == []


@pytest.mark.parametrize("name", ("pocket", "pocket-robust"))
def test_a_fresh_installation_need_not_read_the_landmarks(library: Library, bare: None,
                                                          name: str) -> None:
    model, files = library.load(name), [e.path for e in load_examples().values()]
    words, seen = known_landmarks(model, named(concepts())), known_pictures(model, files)
    said = known_landmarks(model, sentences())
    assert words is not None and words.shape == (len(concepts()), model.dim)
    assert said is not None and said.shape == (len(sentences()), model.dim)
    assert seen is not None and seen.shape == (len(files), model.dim)
    read = model.encode_text([f"a photo of a {w}" for w in concepts()[:3]]).numpy()
    assert abs(words[:3] - read).max() < 5e-4  # kept in half precision
    assert abs((words**2).sum(1) - 1).max() < 1e-5
    assert (SHIPPED / f"{landmark_name(model, sentences())}.npz").exists()


def test_making_fills_what_is_missing_and_drops_what_nobody_asks_for(tmp_path: Path) -> None:
    made: list[str] = []

    def thing(name: str) -> Shipped:
        def make(path: Path) -> None:
            made.append(name)
            path.write_text(name, encoding="utf-8")

        return Shipped(f"the {name}", f"{name}.bin", make)

    old, new = [thing("a"), thing("b")], [thing("b"), thing("c")]
    assert stale(old, tmp_path) == ["the a is missing", "the b is missing"]
    list(ship(old, tmp_path))
    (tmp_path / NOTICE).write_text("from where", encoding="utf-8")
    assert stale(old, tmp_path) == [] and made == ["a", "b"]
    assert stale(new, tmp_path) == ["the c is missing", "a.bin is what nothing asks for any more"]
    assert list(ship(new, tmp_path)) == ["deleted a.bin", "made the c: 1 bytes"]
    assert stale(new, tmp_path) == [] and made == ["a", "b", "c"]
    (tmp_path / "c.bin").write_bytes(bytes(MOST))
    assert "more than" in stale(new, tmp_path)[0]


def test_a_folder_is_shipped_as_one_thing(tmp_path: Path) -> None:
    def make(path: Path) -> None:
        path.mkdir()
        (path / "job.json").write_text("{}", encoding="utf-8")

    old, new = (Shipped("work", f"jobs/{name}", make) for name in ("a", "b"))
    assert list(ship([old], tmp_path)) == ["made work: 2 bytes"]
    assert stale([old], tmp_path) == [] and (tmp_path / "jobs/a/job.json").is_file()
    assert list(ship([new], tmp_path)) == ["deleted jobs/a", "made work: 2 bytes"]
    assert [path.name for path in (tmp_path / "jobs").iterdir()] == ["b"]


def test_finished_work_is_everybodys_and_nobody_changes_it(tmp_path: Path) -> None:
    """It stands after a visitor's own, and is neither stopped, taken up again nor deleted."""
    example = Job("20000101-000000-0123abcd", "failures", EXAMPLE, "shipped", 0.0,
                  tmp_path / "examples" / "20000101-000000-0123abcd", state=FINISHED)
    example.folder.mkdir(parents=True)
    write_job(example)
    jobs = ThreadJobs(tmp_path / "own", {}, examples=tmp_path / "examples")
    own = jobs.submit("failures", "me", lambda folder: ("mine", {}))
    assert [job.title for job in jobs.shown("me", "failures")] == ["mine", "shipped"]
    assert [job.title for job in jobs.shown("you", "failures")] == ["shipped"]
    assert jobs.shown("me", "evaluate") == [] and jobs.list("me") == [own]
    assert jobs.get(example.id, "me").is_example and not own.is_example
    for act in (jobs.stop, jobs.go_on, jobs.delete):
        with pytest.raises(InputError, match="came with the app"):
            act(example.id, "me")
    assert example.folder.is_dir()


def test_each_of_three_tabs_has_finished_work(library: Library) -> None:
    """Pictures and numbers are whole, and nothing in it names a folder of where it was made."""
    jobs = ThreadJobs(Path(tempfile.mkdtemp()), {}, examples=EXAMPLES)
    (found,), (measured,), (trained,) = (jobs.shown("", kind)
                                         for kind in ("failures", "evaluate", "train"))
    hunted = read_hunt(found.folder)
    assert len(hunted.cases) == 200 and hunted.bad == 0
    for case in hunted.cases:
        clean = np.asarray(clean_picture(found.folder, case.place), np.int16)
        for side in (0, 1):
            now = np.asarray(attacked_picture(found.folder, case.place, side), np.int16)
            assert abs(now - clean).max() == case.sides[side].linf
    table = table_of(measured)
    assert {row.model for row in table.rows} == set(MODELS) and len(table.rows) >= 24
    story = RunLog(trained.folder / "log.jsonl").read()
    assert story.kind == "end" and len(story.probes) >= 4 and all(
        len(probe["samples"]) == 3 for probe in story.probes)
    text = "".join(path.read_text("utf-8") for path in EXAMPLES.rglob("*.json*"))
    assert not re.search(r"[\"' (](/[\w.-]+){2,}", text), "a path of the machine it was made on"
