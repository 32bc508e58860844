"""Random and mangled input at every door: nothing comes out but declared errors.

`make test` draws a fixed sample; `make fuzz` sets FUZZ, the number of cases of each test, and draws
new ones. Where atheris is installed, coverage_fuzz.py follows the code's branches besides.
"""

from __future__ import annotations

import atexit
import io
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import torch
from helpers import CAPTIONS, grid_images, tiny_clip
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from open_clip.tokenizer import SimpleTokenizer
from PIL import Image

from explorer.attacks.image.classic import PGD
from explorer.attacks.joint import JOINT_ATTACKS
from explorer.attacks.result import Result
from explorer.attacks.run import run
from explorer.attacks.text.classic import Typo
from explorer.base.errors import InputError
from explorer.base.settings import Settings, variable
from explorer.data.archives import open_archive
from explorer.data.pairs import Pairs, clean_captions, one_pair, open_image
from explorer.data.text_tables import parse_table
from explorer.models.cards import Card
from explorer.models.encoder import DualEncoder
from explorer.models.library import Library
from explorer.results.bundle import MAIN, bundle_bytes, read_bundle
from explorer.results.replay import restored
from explorer.server.answers import page_policy
from explorer.server.auth import Accounts
from explorer.server.bodies import Refused, check
from explorer.server.rules import file_refusal, host_refusal, listed, origin_refusal
from explorer.server.visit import read, route_of

CASES = int(os.environ.get("FUZZ", "0"))
KINDS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "ICO")
fuzz = settings(max_examples=CASES or 60, derandomize=not CASES, deadline=None, database=None,
                suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
WORDS = st.text(max_size=60) | st.text(st.characters(), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["path", "url", "meta", "data", "value"]) | st.text(max_size=5),
        inner, max_size=4), max_leaves=20)


def only(error: type[Exception], work: Callable[[], Any]) -> Any:
    """What `work` returns; None after its declared error, which has to be one sentence."""
    try:
        return work()
    except error as declared:
        said = str(declared)
        assert said and "\n" not in said and "Traceback" not in said
        return None


@lru_cache
def valid(kind: str) -> bytes:
    file = io.BytesIO()
    picture = Image.linear_gradient("L").resize((40, 30)).convert("P" if kind == "GIF" else "RGB")
    picture.save(file, kind)
    return file.getvalue()


def mangled(raw: bytes) -> st.SearchStrategy[bytes]:
    """`raw` with bytes changed, parts cut out, repeated or put in."""
    edit = st.tuples(st.integers(0, max(0, len(raw) - 1)), st.integers(0, 40),
                     st.binary(max_size=12))

    def apply(edits: list[tuple[int, int, bytes]]) -> bytes:
        out = raw
        for place, cut, new in edits:
            out = out[:place] + new + out[place + cut:]
        return out

    return st.lists(edit, min_size=1, max_size=6).map(apply)


@fuzz
@given(raw=st.sampled_from(KINDS).flatmap(lambda kind: mangled(valid(kind))) | st.binary())
def test_mangled_pictures(raw: bytes) -> None:
    image = only(InputError, lambda: open_image(raw))
    if image is not None:
        pairs = one_pair(image, ["a", "b"], 0, 16)
        assert pairs.images.shape == (1, 3, 16, 16)


@fuzz
@given(texts=st.lists(WORDS, max_size=8))
def test_any_captions(texts: list[str]) -> None:
    kept = only(InputError, lambda: clean_captions(texts))
    if kept is not None:
        assert len(set(kept)) == len(texts) and clean_captions(kept) == kept


TABLE = st.lists(st.lists(WORDS, min_size=1, max_size=4), max_size=6).map(
    lambda rows: "\n".join(",".join(row) for row in rows).encode("utf-8", "surrogatepass"))


@fuzz
@given(raw=TABLE | st.binary() | mangled(b'image,caption\r\na.png,"a ""cat"""\r\nb.png,dog\r\n'))
def test_any_table(raw: bytes) -> None:
    only(InputError, lambda: parse_table(raw, "table.csv"))


@lru_cache
def scratch() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="explorer-fuzz-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@lru_cache
def packed() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("cat/a.png", valid("PNG"))
        archive.writestr("../b.png", valid("PNG"))
    return file.getvalue()


@fuzz
@given(raw=mangled(packed()) | st.binary())
def test_mangled_archives(raw: bytes) -> None:
    path = scratch() / "photos.zip"
    path.write_bytes(raw)
    box = only(InputError, lambda: open_archive(path))
    if box is not None:
        only(InputError, lambda: [len(x) for x in box.contents(list(box.members))
                                  if isinstance(x, bytes)])


@lru_cache
def bundled() -> tuple[bytes, Library]:
    """A bundle as the app saves it, and a library whose every model is the one that made it."""
    card = Card("tiny", "tiny", "standard", "none", "none", "Random weights.")
    tiny = DualEncoder(tiny_clip(), SimpleTokenizer(context_length=16), card, 32, (0.5,) * 3,
                       (0.25,) * 3, "cpu")
    pairs = Pairs(grid_images(1, 32), CAPTIONS, torch.tensor([0]))
    attack = JOINT_ATTACKS["separate"](image=PGD(4 / 255, steps=1), text=Typo())
    raw = bundle_bytes([run(attack, tiny, pairs)], {"tiny": tiny.fingerprint}, "a block")
    return raw, cast(Library, SimpleNamespace(load=lambda name, device=None: tiny,
                                              card=lambda name: card))


def reopened(raw: bytes) -> None:
    bundle = only(InputError, lambda: read_bundle(raw))
    if bundle is not None:
        results = only(InputError, lambda: restored(bundle, bundled()[1]))
        assert results is None or all(isinstance(result, Result) for result in results)


@fuzz
@given(raw=st.deferred(lambda: mangled(bundled()[0])) | st.binary())
def test_mangled_bundles(raw: bytes) -> None:
    reopened(raw)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The ways to all values inside a piece of JSON."""
    inside = value.items() if isinstance(value, dict) else (
        enumerate(value) if isinstance(value, list) else ())
    return [path, *(way for key, part in inside for way in places(part, (*path, key)))]


@lru_cache
def ways() -> list[tuple[Any, ...]]:
    with zipfile.ZipFile(io.BytesIO(bundled()[0])) as archive:
        return places(json.loads(archive.read(MAIN)))[1:]


@fuzz
@given(changes=st.lists(st.tuples(st.deferred(lambda: st.sampled_from(ways())), JSON),
                        min_size=1, max_size=3))
def test_bundles_that_say_anything(changes: list[tuple[tuple[Any, ...], Any]]) -> None:
    with zipfile.ZipFile(io.BytesIO(bundled()[0])) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    main = json.loads(files[MAIN])
    for (*way, last), value in changes:
        inner: Any = main
        with suppress(KeyError, IndexError, TypeError):  # an earlier change took it away
            for key in way:
                inner = inner[key]
            inner[last] = value
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in {**files, MAIN: json.dumps(main).encode()}.items():
            archive.writestr(name, content)
    reopened(out.getvalue())


@fuzz
@given(body=JSON | st.fixed_dictionaries(
    {"fn_index": st.integers(-2, 4) | JSON, "data": st.lists(JSON, max_size=3) | JSON,
     "session_hash": st.text(max_size=20) | JSON}), cut=st.integers(0, 5))
def test_any_json_request(body: Any, cut: int) -> None:
    raw = json.dumps(body).encode()
    folder = Path("/tmp/explorer-none")
    passed = only(Refused, lambda: check(raw[: len(raw) - cut], {0: 1, 2: 3}, folder,
                                         lambda _: True, cut % 2 == 0))
    if passed is not None:
        shown = passed[0].decode()
        assert '"url": "http' not in shown and isinstance(json.loads(shown), dict)


HEADERS = st.lists(st.tuples(
    st.sampled_from([b"host", b"origin", b"cookie", b"authorization", b"x-forwarded-for",
                     b"sec-fetch-site", b"content-length"]), st.binary(max_size=40)), max_size=6)


@fuzz
@given(path=st.builds(str.__add__, st.sampled_from(["/", "/gradio_api/file=", "/assets/"]),
                      st.text(max_size=60)),
       headers=HEADERS, query=st.binary(max_size=60),
       method=st.sampled_from(["GET", "POST", "TRACE"]))
def test_any_request_line(path: str, headers: list[tuple[bytes, bytes]], query: bytes,
                          method: str) -> None:
    scope = {"type": "http", "method": method, "path": path, "query_string": query,
             "headers": headers, "client": ("10.0.0.1", 5), "scheme": "http"}
    visit = read(scope, frozenset({"10.0.0.1"}), "/clip")
    for sentence in (host_refusal(visit, frozenset({"localhost"})), origin_refusal(visit),
                     file_refusal(visit.path)):
        assert sentence is None or sentence
    assert isinstance(listed(visit), bool) and len(route_of(visit.path)) < 40
    Accounts({"me": "12345678"}).accepts(visit.headers.get("authorization", ""))


@fuzz
@given(name=st.sampled_from(["STEPS", "ROOT_PATH", "TRAINING", "METRICS", "FRAME_ANCESTORS"]),
       raw=WORDS)
def test_any_setting(name: str, raw: str) -> None:
    got = only(InputError, lambda: Settings.from_environment({f"EXPLORER_{name}": raw}))
    if got is not None:
        policy = page_policy("n", (), got.frame_ancestors)
        assert policy.count(";") == page_policy("n", (), "'self'").count(";")
        assert "\r" not in got.root_path and variable is not None
