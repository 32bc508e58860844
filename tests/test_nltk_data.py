"""TextAttack imports offline with our own stop words."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from explorer.base.nltk_data import FOLDER, fetch_quietly, private_copy, use_own_nltk_data

ROOT = Path(__file__).resolve().parent.parent

# What a machine without a network does, in a process where nothing is imported yet.
OFFLINE_IMPORT = """
import socket

def blocked(*args, **kwargs):
    raise OSError("the network is blocked in this test")

socket.socket.connect = socket.socket.connect_ex = blocked

from explorer.base.nltk_data import use_own_nltk_data
use_own_nltk_data()
import textattack
from textattack.constraints.pre_transformation import StopwordModification
print(len(StopwordModification().stopwords))
"""


def words() -> list[str]:
    return (FOLDER / "corpora" / "stopwords" / "english").read_text(encoding="utf-8").split("\n")


@pytest.mark.timeout(180)  # the import alone takes seconds
def test_textattack_imports_without_a_network(tmp_path: Path) -> None:
    # An empty home keeps out stop words and settings that this machine happens to have.
    environment = {k: v for k, v in os.environ.items() if k != "NLTK_DATA"}
    environment |= {"HOME": str(tmp_path), "TA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", OFFLINE_IMPORT], env=environment, cwd=tmp_path,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.split()[-1]) == len(words()) - 1


def test_calling_twice_adds_one_folder() -> None:
    import nltk

    use_own_nltk_data()
    use_own_nltk_data()
    assert nltk.data.path.count(str(private_copy())) == 1
    assert nltk.data.path[0] == str(private_copy())


def test_the_copy_is_ours_alone_and_the_same() -> None:
    before = os.umask(0o002)
    try:
        private_copy.cache_clear()
        copy = private_copy()
    finally:
        os.umask(before)
    listed = sorted(p.relative_to(FOLDER) for p in FOLDER.rglob("*") if p.is_file())
    assert listed == sorted(p.relative_to(copy) for p in copy.rglob("*") if p.is_file())
    assert all((copy / p).read_bytes() == (FOLDER / p).read_bytes() for p in listed)
    assert not any(p.stat().st_mode & 0o022 for p in [copy, *copy.rglob("*")])


def test_the_list_is_plain_lower_case_words_each_once() -> None:
    *listed, end = words()
    assert end == "", "the file ends with a line break"
    assert len(listed) == len(set(listed)) > 100
    assert all(word.isalpha() and word.islower() for word in listed)


def test_what_recipes_fetch_is_fetched_without_a_word(monkeypatch: pytest.MonkeyPatch,
                                                      capfd: pytest.CaptureFixture[str]) -> None:
    import nltk

    asked: list[str] = []

    def index(self: nltk.downloader.Downloader, name: str, *_: object, **__: object) -> object:
        asked.append(name)
        yield nltk.downloader.ErrorMessage(name, "Error loading it: no network")

    monkeypatch.setattr(nltk.downloader.Downloader, "incr_download", index)
    use_own_nltk_data()
    assert fetch_quietly("stopwords", quiet=False) and not asked  # it is here: ours
    assert not fetch_quietly("no-such-corpus") and asked == ["no-such-corpus"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
@pytest.mark.timeout(900)  # TextAttack is imported three times
def test_a_recipe_without_its_data_is_one_sentence_and_nothing_else(tmp_path: Path) -> None:
    """As a program: nothing of NLTK, TextAttack or the hub's client on either stream."""
    for recipe, needed in (("pwws", "NLTK's data 'wordnet'"), ("bae", "bert-base-uncased|hugging"),
                           ("textfooler", "textattack.s3.amazonaws.com/word_embeddings")):
        done = subprocess.run(
            [sys.executable, "-m", "explorer", "attack", "--image", "assets/examples/cat.jpg",
             "--caption", "a cat", "--caption", "a dog", "--kind", "text", "--attack",
             f"textattack:{recipe}", "--models", "pocket", "--out", str(tmp_path / recipe)],
            env={**os.environ, "HOME": str(tmp_path), "TA_CACHE_DIR": str(tmp_path / "ta"),
                 "HF_HOME": str(tmp_path / "hf"), "NLTK_DATA": str(tmp_path / "nltk")},
            cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 2 and done.stdout == ""
        (line,) = done.stderr.splitlines()
        assert line.startswith("error: the TextAttack recipe ") and re.search(needed, line), line
