"""Files of results: one address a content, not to be guessed, gone when their time is over."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from explorer.server.kept import FOR_EVER, Kept


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now



def test_a_file_comes_back_as_it_was_and_may_be_cached(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    for raw, mime, ending in ((b"one", "image/png", "png"), (b"two", "application/zip", "zip"),
                              (b"", "application/octet-stream", "npy")):
        address = kept.put(raw, mime)
        answer = TestClient(FastAPI(routes=list(kept.routes()))).get(address)
        assert address.endswith(f".{ending}") and answer.content == raw
        assert answer.headers["content-type"].startswith(mime)
        assert answer.headers["cache-control"] == FOR_EVER


def test_addresses_tell_contents_apart_and_cannot_be_computed_elsewhere(tmp_path: Path) -> None:
    kept, other = Kept(tmp_path / "a"), Kept(tmp_path / "b", root="/lab/")
    first = kept.put(b"one", "image/png")
    assert kept.put(b"one", "image/png") == first != kept.put(b"two", "image/png")
    assert other.put(b"one", "image/png").rpartition("/")[2] != first.rpartition("/")[2]
    assert other.put(b"one", "image/png").startswith("/lab/kept/")


def test_what_is_old_goes_and_what_is_pinned_stays(tmp_path: Path) -> None:
    clock = Clock()
    kept = Kept(tmp_path, seconds=10, clock=clock)
    pinned, old = kept.put(b"pinned", "image/png"), kept.put(b"old", "image/png")
    kept.pin(f'<img src="{pinned}">')
    clock.now = 8
    again = kept.put(b"named again", "image/png")
    clock.now = 11
    assert kept.sweep() == 1 and kept.size() == len(b"pinned") + len(b"named again")
    client = TestClient(FastAPI(routes=list(kept.routes())))
    assert client.get(old).status_code == 404
    assert client.get(old).headers["cache-control"] == "no-store"
    assert client.get(pinned).content == b"pinned" and client.get(again).status_code == 200
    assert len(list((tmp_path / "kept").iterdir())) == 2


def test_the_oldest_go_when_there_is_no_room(tmp_path: Path) -> None:
    kept = Kept(tmp_path, most=250)
    addresses = [kept.put(bytes([k]) * 100, "image/png") for k in range(4)]
    client = TestClient(FastAPI(routes=list(kept.routes())))
    assert [client.get(a).status_code for a in addresses] == [404, 404, 200, 200]


def test_an_unknown_kind_is_a_mistake_of_ours(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        Kept(tmp_path).put(b"<html>", "text/html")
