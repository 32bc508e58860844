"""The quick question whether a hub repository can be had, against a socket of our own."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest
from huggingface_hub import constants

from explorer.base import hub
from explorer.base.errors import InputError


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in hub.PROXIES:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_a_hub_that_answers_is_enough(online: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        online.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        hub.require("someone/model", "config.json")


def test_a_hub_that_does_not_answer_is_said_at_once(online: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    online.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
    began = time.monotonic()
    with pytest.raises(InputError, match="hub is not reachable from here"):
        hub.require("someone/model", "config.json")
    assert time.monotonic() - began < hub.PATIENCE + 1


def test_a_proxy_is_left_to_know_better(online: pytest.MonkeyPatch) -> None:
    online.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    online.setenv("HTTPS_PROXY", "http://127.0.0.1:2")
    hub.require("someone/model", "config.json")


def test_a_stored_copy_needs_no_hub(online: pytest.MonkeyPatch, tmp_path: Path) -> None:
    online.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: str(tmp_path))
    online.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    hub.require("someone/model", "config.json")


def is_offline() -> bool:
    return bool(constants.HF_HUB_OFFLINE)


def test_code_of_others_asks_once(online: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        online.setattr(constants, "ENDPOINT", address)
        with hub.asked_once():
            assert not is_offline()
    with pytest.raises(ValueError, match="as it was"), hub.asked_once():
        assert is_offline()
        from huggingface_hub import hf_hub_download

        began = time.monotonic()
        with pytest.raises(OSError):
            hf_hub_download("someone/model", "config.json")
        assert time.monotonic() - began < 5  # its own way waits for three quarters of a minute
        raise ValueError("as it was")
    assert not is_offline()
