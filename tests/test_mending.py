"""What is mended in Gradio's page: the faults are there, once each, and nothing else changes."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from explorer.server.mending import ASSETS, MENDS, Mend, mended, routes


@pytest.mark.parametrize("mend", MENDS, ids=lambda mend: mend.files)
def test_a_fault_is_in_one_file_of_the_installed_gradio(mend: Mend) -> None:
    """Fails when Gradio changes: then the browser's test at rest says what is still needed."""
    holding = [path for path in ASSETS.glob(mend.files)
               if path.read_text(encoding="utf-8").count(mend.wrong) == 1]
    assert len(holding) == 1


def test_only_the_faults_are_changed() -> None:
    texts = mended()
    assert len(texts) == len(MENDS)
    for name, text in texts.items():
        back = text
        for mend in MENDS:
            back = back.replace(mend.right, mend.wrong)
        assert back == (ASSETS / name).read_text(encoding="utf-8") != text


def test_another_gradio_is_sent_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "index-1.js").write_text("let a = 1", encoding="utf-8")
    assert mended(tmp_path) == {} and routes(tmp_path) == []


def test_a_mended_file_is_served_as_a_script() -> None:
    app = FastAPI(routes=list(routes()))
    for name, text in mended().items():
        answer = TestClient(app).get(f"/assets/{name}")
        assert answer.text == text
        assert answer.headers["content-type"].startswith("text/javascript")
