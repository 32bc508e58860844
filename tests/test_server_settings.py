"""Settings from the environment, accounts, and logs that tell nothing of what was sent."""

from __future__ import annotations

import base64
import io
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
from PIL import Image

from explorer.attacks.image.classic import PGD
from explorer.base import settings as module
from explorer.base.errors import InputError
from explorer.base.settings import Settings, current, unknown, variable
from explorer.data.pairs import clean_captions, open_image
from explorer.server import logs
from explorer.server.auth import Accounts

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Settings are read again inside the test, and afterwards."""
    current.cache_clear()
    yield monkeypatch
    current.cache_clear()


def test_every_setting_has_a_variable_and_a_line_in_the_guide() -> None:
    guide = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    for setting in fields(Settings):
        row = next((r for r in guide.splitlines() if f"`{variable(setting)}`" in r
                    and r.startswith("|")), None)
        assert row, f"{variable(setting)} is not in docs/deploy.md"
        shown = {"True": "on", "False": "off", "": "empty"}.get(
            str(setting.default), str(setting.default))
        assert f"| {shown} |" in row.replace("`", ""), row


def test_each_setting_can_be_set() -> None:
    for setting in fields(Settings):
        default = setting.default
        raw, want = ("on", True) if isinstance(default, bool) else (
            (str(setting.metadata["high"]), setting.metadata["high"])
            if isinstance(default, int) else ("/there", "/there"))
        if setting.metadata.get("choices"):
            raw = want = setting.metadata["choices"][0]
        got = Settings.from_environment({variable(setting): raw})
        assert getattr(got, setting.name) == want


@pytest.mark.parametrize(("name", "raw", "words"), [
    ("STEPS", "many", "EXPLORER_STEPS must be a whole number from 1 to 100000, not 'many'"),
    ("STEPS", "0", "from 1 to"),
    ("PIXELS", "1e9", "whole number"),
    ("TRAINING", "perhaps", "must be on or off"),
    ("METRICS", "some", "one of off, private, all"),
    ("ROOT_PATH", "clip", "must be a path such as /clip"),
    ("ROOT_PATH", "/a\r\nSet-Cookie: x", "must be a path such as /clip"),
    ("FRAME_ANCESTORS", "'self'; script-src *", "parted by spaces"),
])
def test_wrong_settings_are_refused_in_a_sentence(name: str, raw: str, words: str) -> None:
    with pytest.raises(InputError, match=words.replace("(", r"\(")):
        Settings.from_environment({f"EXPLORER_{name}": raw})


def test_misspelt_settings_are_named() -> None:
    assert unknown({"EXPLORER_STEP": "5", "EXPLORER_STEPS": "5", "PATH": "/",
                    "EXPLORER_CACHE": "/tmp/x"}) == ["EXPLORER_STEP"]


def test_a_hosted_demo_is_framed_and_proxied_by_its_host() -> None:
    hosted = Settings.from_environment({"SPACE_ID": "someone/something"})
    assert "https://huggingface.co" in hosted.frame_ancestors and hosted.trusted_proxies == "*"
    own = Settings.from_environment({"SPACE_ID": "a/b", "EXPLORER_FRAME_ANCESTORS": "'none'"})
    assert own.frame_ancestors == "'none'"


def test_the_limits_count_where_the_work_is_done(limits: pytest.MonkeyPatch) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (200, 200)).save(picture, "PNG")
    open_image(picture.getvalue())
    clean_captions(["a cat", "a dog"])
    PGD(steps=900)
    for name, value in (("PIXELS", "10000"), ("CAPTIONS", "1"), ("STEPS", "800"),
                        ("CAPTION_CHARACTERS", "10")):
        limits.setenv(f"EXPLORER_{name}", value)
    current.cache_clear()
    with pytest.raises(InputError, match=r"200 x 200 pixels; at most 0.01 million"):
        open_image(picture.getvalue())
    with pytest.raises(InputError, match="2 captions; at most 1"):
        clean_captions(["a cat", "a dog"])
    with pytest.raises(InputError, match="at most 10 are read"):
        clean_captions(["a cat on a mat"])
    with pytest.raises(InputError, match="1 to 800"):
        PGD(steps=900)
    limits.setenv("EXPLORER_UPLOAD_BYTES", "1000")
    current.cache_clear()
    with pytest.raises(InputError, match="larger than 0.001 MB"):
        open_image(b"x" * 1001)


def basic(pair: str) -> str:
    return "Basic " + base64.b64encode(pair.encode()).decode()


def test_accounts_come_from_a_file_or_a_variable(tmp_path: Path) -> None:
    file = tmp_path / "users"
    file.write_text("# the class\nteacher:long enough\n\npupil:with:colon\n", encoding="utf-8")
    accounts = Accounts.from_settings(Settings(auth_file=str(file)))
    assert accounts.accepts(basic("teacher:long enough")) == "teacher"
    assert accounts.accepts(basic("pupil:with:colon")) == "pupil"
    for wrong in ("teacher:long enougH", "teacher:", ":", "nobody:", "nobody:long enough"):
        assert accounts.accepts(basic(wrong)) is None
    for broken in ("", "Basic", "Basic !!", "Bearer x", "Basic /w==", "Basic \xff"):
        assert accounts.accepts(broken) is None
    assert not Accounts.from_settings(Settings())
    assert Accounts.from_settings(Settings(auth="me:12345678")).accepts(basic("me:12345678"))


@pytest.mark.parametrize(("text", "words"), [
    ("", "names nobody"), ("teacher", "user:password"), ("teacher:short", "8 characters"),
])
def test_a_wrong_file_of_users_is_refused(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "users"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=words):
        Accounts.from_settings(Settings(auth_file=str(file)))
    with pytest.raises(InputError, match="cannot read the file of users"):
        Accounts.from_settings(Settings(auth_file=str(tmp_path / "none")))
    with pytest.raises(InputError, match="not both"):
        Accounts.from_settings(Settings(auth="me:12345678", auth_file=str(file)))


def test_the_time_of_a_check_does_not_tell_how_wrong_it_is() -> None:
    """A password right but for its last letter is refused as fast as one wrong from the first."""
    word = "a" * 4000
    accounts = Accounts({"teacher": word})
    near, far = basic(f"teacher:{word[:-1]}b"), basic(f"teacher:{'b' * 4000}")
    best: dict[str, float] = {}
    for _ in range(300):
        for name, header in (("near", near), ("far", far)):
            began = time.perf_counter()
            accounts.accepts(header)
            taken = time.perf_counter() - began
            best[name] = min(best.get(name, taken), taken)
    assert best["near"] < 1.3 * best["far"] and best["far"] < 1.3 * best["near"]


def test_logs_are_json_and_hold_nothing_that_was_sent() -> None:
    stream = io.StringIO()
    root = logging.getLogger()
    before, level, ours = root.handlers[:], root.level, logging.getLogger("explorer").level
    try:
        logs.configure(stream)
        token = logs.REQUEST.set("abc123")
        try:
            raise ValueError("my secret caption")
        except ValueError:
            logs.LOG.exception("a request failed")
            logs.QuietTraceback().print_exc()
        logging.getLogger("gradio").warning("could not read %s", "my secret file.png")
        logs.say("run", end="done", seconds=1.5)
        logs.REQUEST.reset(token)
    finally:
        root.handlers[:] = before
        root.setLevel(level)
        logging.getLogger("explorer").setLevel(ours)
        logging.captureWarnings(False)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert len(lines) == 4 and "secret" not in stream.getvalue()
    assert [line["level"] for line in lines] == ["error", "warning", "warning", "info"]
    assert lines[0]["error"] == "ValueError" and lines[0]["request"] == "abc123"
    assert any("test_server_settings.py" in place for place in lines[0]["at"])
    assert lines[3]["end"] == "done" and lines[3]["message"] == "run"
    assert module.PREFIX == "EXPLORER_"
