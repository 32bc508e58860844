"""Archives from strangers: what is good is read, what is not is counted and named."""

from __future__ import annotations

import gzip
import io
import os
import stat
import struct
import tarfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sets import files_of, picture, write_folder, write_tar, write_zip

from explorer.base.errors import InputError
from explorer.data import archives
from explorer.data import containers as boxes
from explorer.data.archives import open_archive
from explorer.data.containers import Limits, open_folder
from explorer.data.sets import read_examples

GOOD = {"cat/0.png": picture(0), "dog/1.png": picture(1)}
WRITERS = {"set.zip": write_zip, "set.tar": write_tar, "set.tar.gz": write_tar}


def opened(path: Path, limits: Limits = boxes.LIMITS) -> tuple[dict[str, Any], dict[str, int]]:
    """(name -> contents, reason -> how many) of an archive; nothing beside it was written."""
    before = sorted(path.parent.rglob("*"))
    box = open_archive(path, limits)
    found = dict(zip(box.files, box.contents(box.files), strict=True))
    assert sorted(path.parent.rglob("*")) == before
    return found, box.report.counts


@pytest.mark.parametrize("name", WRITERS)
def test_members_come_back_whole_in_any_order(tmp_path: Path, name: str) -> None:
    path = WRITERS[name](tmp_path / name, GOOD)
    assert opened(path) == (GOOD, {})
    box = open_archive(path)
    assert list(box.contents(["dog/1.png", "cat/0.png", "cat/0.png"])) == [
        picture(1), picture(0), picture(0)]


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("bad", [
    "../up.png", "cat/../../up.png", "/etc/passwd.png", "C:/x.png", "c:x.png", "cat\\..\\up.png",
    "\\\\host\\share.png"])
def test_names_that_lead_out_are_left_out(tmp_path: Path, name: str, bad: str) -> None:
    found, left = opened(WRITERS[name](tmp_path / name, {**GOOD, bad: picture(9)}))
    assert found == GOOD
    assert left == {boxes.UNSAFE: 1}


@pytest.mark.parametrize("name", WRITERS)
def test_what_systems_add_is_ignored_silently(tmp_path: Path, name: str) -> None:
    junk = ("__MACOSX/cat/._0.png", ".DS_Store", "cat/.DS_Store", "cat/Thumbs.db", ".git/x.png",
            "dog/desktop.ini")
    assert opened(WRITERS[name](tmp_path / name, {**GOOD, **dict.fromkeys(junk, b"x")})) == (
        GOOD, {})


@pytest.mark.parametrize("name", WRITERS)
def test_archives_inside_are_counted_and_not_opened(tmp_path: Path, name: str) -> None:
    path = WRITERS[name](tmp_path / name, {**GOOD, "more.zip": b"PK", "x/old.TGZ": b""})
    assert opened(path) == (GOOD, {boxes.NESTED: 2})


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_the_second_of_a_name_is_counted(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for grey in (0, 5):
            archive.writestr("cat/0.png", picture(grey))
    assert opened(tmp_path / "set.zip") == ({"cat/0.png": picture(0)}, {boxes.TWICE: 1})
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        for name, grey in (("cat/0.png", 0), ("./cat//0.png", 5)):
            info = tarfile.TarInfo(name)
            info.size = len(picture(grey))
            tar.addfile(info, io.BytesIO(picture(grey)))
    assert opened(tmp_path / "set.tar") == ({"cat/0.png": picture(0)}, {boxes.TWICE: 1})


def test_links_and_devices_are_left_out(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "set.zip", GOOD)
    with zipfile.ZipFile(path, "a") as archive:
        for name, kind in (("cat/link.png", stat.S_IFLNK), ("cat/pipe.png", stat.S_IFIFO)):
            info = zipfile.ZipInfo(name)
            info.external_attr = (kind | 0o644) << 16
            archive.writestr(info, "/etc/passwd")
    assert opened(path) == (GOOD, {archives.LINK: 2})
    path = write_tar(tmp_path / "set.tar", GOOD)
    with tarfile.open(path, "a") as tar:
        for number, sort in enumerate((tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE,
                                       tarfile.FIFOTYPE)):
            member = tarfile.TarInfo(f"cat/x{number}.png")
            member.type, member.linkname = sort, "/etc/passwd"
            tar.addfile(member)
    assert opened(path) == (GOOD, {archives.LINK: 4})


def test_encrypted_members_are_left_out(tmp_path: Path) -> None:
    raw = bytearray(write_zip(tmp_path / "set.zip", GOOD).read_bytes())
    raw[raw.index(b"PK\1\2") + 8] |= 1
    (tmp_path / "set.zip").write_bytes(raw)
    found, left = opened(tmp_path / "set.zip")
    assert (list(found), left) == (["dog/1.png"], {
        "encrypted with the old encryption of zips (ZipCrypto): make a zip without a password": 1})


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2, zipfile.ZIP_STORED])
def test_other_ways_of_packing(tmp_path: Path, method: int) -> None:
    path = write_zip(tmp_path / "set.zip", GOOD)
    with zipfile.ZipFile(path, "a", method) as archive:
        archive.writestr("cat/2.png", picture(2))
    assert opened(path) == ({**GOOD, "cat/2.png": picture(2)}, {})


def test_windows_separators_are_folders(tmp_path: Path) -> None:
    """As Compress-Archive of older PowerShells writes them."""
    path = write_zip(tmp_path / "set.zip", {f"{a}\\{b}.png": picture(k) for k, (a, b) in
                                            enumerate([("cat", 1), ("dog", 2)])})
    assert open_archive(path).files == ("cat/1.png", "dog/2.png")
    assert read_examples(path).captions == ("a photo of a cat", "a photo of a dog")


def test_damaged_members_are_left_out(tmp_path: Path) -> None:
    raw = bytearray(write_zip(tmp_path / "set.zip", GOOD).read_bytes())
    raw[raw.index(b"cat/0.png") + 12] ^= 0xFF  # in the packed picture, after its name
    (tmp_path / "set.zip").write_bytes(raw)
    found, left = opened(tmp_path / "set.zip")
    assert found == {"cat/0.png": b"", "dog/1.png": picture(1)}
    assert left == {archives.DAMAGED: 1}


@pytest.mark.parametrize("name", ["set.tar", "set.tar.gz"])
def test_a_tar_that_is_cut_short_keeps_what_came_before(tmp_path: Path, name: str) -> None:
    big = {f"cat/{i}.png": os.urandom(5000) for i in range(40)}
    path = write_tar(tmp_path / name, big)
    path.write_bytes(path.read_bytes()[:100_000])
    found, left = opened(path)
    assert 10 < len(found) < 25
    assert all(found[name] in (big[name], b"") for name in found)
    assert sum(raw == b"" for raw in found.values()) <= 1
    assert any(reason.startswith("damaged") for reason in left)


def test_a_tar_damaged_in_the_middle_says_where(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "set.tar", {f"cat/{i}.png": picture(i) for i in range(9)})
    raw = bytearray(path.read_bytes())
    at = raw.index(b"cat/5.png")
    raw[at:at + 200] = b"\xff" * 200
    path.write_bytes(raw)
    box = open_archive(path)
    assert len(box.files) == 5
    assert box.report.sentences() == [
        "Left out 1 file (damaged: what comes after this file): cat/4.png."]


def test_names_in_other_encodings(tmp_path: Path) -> None:
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("ZZZZZ/0.png", "katze/1.png"):
            archive.writestr(name, picture(0))
        archive.writestr("größe/2.png", picture(2))  # marked as UTF-8
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"ZZZZZ", "né".encode() + b"on"[:2]))
    assert list(open_archive(path).files) == ["néon/0.png", "katze/1.png", "größe/2.png"]
    path.write_bytes(raw.replace(b"ZZZZZ", b"caf\x82s"))  # cp437
    assert open_archive(path).files[0] == "cafés/0.png"
    assert open_archive(path).report.notes == [
        "the names in set.zip do not say their encoding: they were read as cp850 (Western DOS)"]
    with tarfile.open(tmp_path / "set.tar", "w", encoding="latin-1",
                      format=tarfile.GNU_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo("café/0.png"))
    assert open_archive(tmp_path / "set.tar").files == ("café/0.png",)


# --- bombs ----------------------------------------------------------------------------------


def test_a_zip_bomb_is_refused_before_it_is_read(tmp_path: Path,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_zip(tmp_path / "set.zip", {f"a/{i}.png": bytes(1_000_000) for i in range(9)})
    limits = Limits(harmless=5_000_000)
    monkeypatch.setattr(zipfile.ZipFile, "open", None)  # nothing may be unpacked
    with pytest.raises(InputError, match="more than 200 times its size"):
        open_archive(path, limits)
    with pytest.raises(InputError, match=r"unpacks to more than 0\.001 GB"):
        open_archive(path, Limits(unpacked=1_000_000))


def test_a_gzip_bomb_is_refused_while_it_is_read(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "set.tar.gz", {"a/0.png": bytes(30_000_000)})
    tracemalloc.start()
    with pytest.raises(InputError, match="more than 200 times its size"):
        open_archive(path, Limits(harmless=5_000_000))
    assert tracemalloc.get_traced_memory()[1] < 3_000_000
    tracemalloc.stop()


def test_a_header_without_end_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 50_000_000  # a header that tarfile reads in one go
    path = tmp_path / "set.tar.gz"
    path.write_bytes(gzip.compress(info.tobuf() + bytes(50_000_000)))
    tracemalloc.start()
    with pytest.raises(InputError, match="a file's header has no end"):
        open_archive(path)
    assert tracemalloc.get_traced_memory()[1] < 12_000_000
    tracemalloc.stop()


def test_a_header_that_lies_about_the_size_gives_no_more_than_it_says(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "set.zip", {"a/0.png": bytes(3_000_000), "a/1.png": picture(1)})
    raw = bytearray(path.read_bytes())
    for sign, place in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        at = raw.index(sign) + place
        raw[at:at + 4] = struct.pack("<I", 100)
    path.write_bytes(raw)
    found, left = opened(path, Limits(member=1_000_000))
    assert found == {"a/0.png": b"", "a/1.png": picture(1)}
    assert left == {archives.DAMAGED: 1}


@pytest.mark.parametrize("name", WRITERS)
def test_a_member_that_is_too_large_is_left_out(tmp_path: Path, name: str) -> None:
    path = WRITERS[name](tmp_path / name, {**GOOD, "cat/big.png": bytes(1_000_001)})
    assert opened(path, Limits(member=1_000_000)) == (GOOD, {archives.HUGE: 1})


@pytest.mark.parametrize("name", WRITERS)
def test_too_many_members_are_said_clearly(tmp_path: Path, name: str) -> None:
    path = WRITERS[name](tmp_path / name, {f"{i}.png": b"" for i in range(10_001)})
    assert len(open_archive(path).files) == 10_001
    with pytest.raises(InputError, match="more than 10,000 files: split it into parts"):
        open_archive(path, Limits(members=10_000))


def test_members_are_counted_before_they_are_held(tmp_path: Path,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_zip(tmp_path / "set.zip", {f"{i}.png": b"" for i in range(300)})
    monkeypatch.setattr(zipfile, "ZipFile", None)
    with pytest.raises(InputError, match="more than 200 files"):
        open_archive(path, Limits(members=200))


def test_memory_does_not_grow_with_the_archive(tmp_path: Path) -> None:
    noise = os.urandom(200_000)
    for name, write in WRITERS.items():
        path = write(tmp_path / name, {f"{i}.png": noise for i in range(60)})
        tracemalloc.start()
        box = open_archive(path)
        assert all(raw == noise for raw in box.contents(box.files))
        assert tracemalloc.get_traced_memory()[1] < 3_000_000  # all of it is 12 MB
        tracemalloc.stop()


# --- not archives ---------------------------------------------------------------------------


@pytest.mark.parametrize("raw", [b"", b"PK", b"PK\3\4", b"PK\5\6" + bytes(18), b"\x1f\x8b",
                                 b"\x1f\x8b\x08\0", bytes(4096), b"x" * 4096, picture(1)])
@pytest.mark.parametrize("name", WRITERS)
def test_what_is_not_an_archive_gets_one_sentence(tmp_path: Path, name: str, raw: bytes) -> None:
    (tmp_path / name).write_bytes(raw)
    with pytest.raises(InputError) as error:
        read_examples(tmp_path / name)
    assert "\n" not in str(error.value)


def test_a_report_names_a_few_and_counts_each_once() -> None:
    report = boxes.Report()
    for name in ("a\n.png", "b", "c", "d", "b"):
        report.add("damaged", name)
    assert report.sentences() == ["Left out 4 files (damaged): a?.png, b, c and 1 more."]
    assert len(report) == 4 and report.counts == {"damaged": 4}


def test_a_folder_lists_its_files(tmp_path: Path) -> None:
    write_folder(tmp_path / "set", {**GOOD, ".hidden/x.png": b"", "notes.txt": b"hm"})
    box = open_folder(tmp_path / "set")
    assert box.files == ("cat/0.png", "dog/1.png", "notes.txt")
    assert box.read("notes.txt") == b"hm"


# --- anything at all ------------------------------------------------------------------------


def unharmed(path: Path) -> None:
    """Reads a file to the last picture: it works, or one sentence says why not."""
    try:
        examples = read_examples(path)
        list(examples.batches(4))
        examples.report.sentences()
    except InputError as error:
        assert str(error) and "\n" not in str(error)


def mutate(raw: bytes, edits: list[tuple[float, int, bytes]]) -> bytes:
    """Bytes exchanged, cut out or put in at places given as shares of the length."""
    changed = bytearray(raw)
    for share, cut, new in edits:
        at = int(share * len(changed))
        changed[at:at + cut] = new
    return bytes(changed)


EDITS = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 40), st.binary(max_size=24)),
                 min_size=1, max_size=6)
KINDS = st.sampled_from(["folders", "labels", "rows", "lists", "beside", "json beside",
                         "karpathy", "words"])
FUZZ = settings(max_examples=150, deadline=None,
                suppress_health_check=[HealthCheck.function_scoped_fixture])


@FUZZ
@given(raw=st.binary(max_size=600), start=st.sampled_from([b"", b"PK\3\4", b"PK\5\6", b"\x1f\x8b"]),
       name=st.sampled_from(["set.zip", "set.tar", "set.tar.gz", "set.csv", "set.json",
                             "set.parquet"]))
def test_random_bytes_do_no_harm(tmp_path: Path, raw: bytes, start: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(start + raw)
    unharmed(tmp_path / name)


@FUZZ
@given(kind=KINDS, name=st.sampled_from(sorted(WRITERS)), edits=EDITS, packed=st.booleans())
def test_mutated_archives_do_no_harm(tmp_path: Path, kind: str, name: str, edits: Any,
                                     packed: bool) -> None:
    path = WRITERS[name](tmp_path / name, files_of(kind))
    if name == "set.tar.gz" and packed:  # a valid gzip of a mutated tar
        path.write_bytes(gzip.compress(mutate(gzip.decompress(path.read_bytes()), edits)))
    else:
        path.write_bytes(mutate(path.read_bytes(), edits))
    unharmed(path)


@FUZZ
@given(kind=KINDS, edits=EDITS)
def test_mutated_tables_and_captions_do_no_harm(tmp_path: Path, kind: str, edits: Any) -> None:
    """The archive is whole; what it says of its pictures is not."""
    files = {name: raw if name.endswith(".png") else mutate(raw, edits)
             for name, raw in files_of(kind).items()}
    unharmed(write_zip(tmp_path / "set.zip", files))


@FUZZ
@given(edits=EDITS, encoding=st.sampled_from(["utf-8", "utf-16", "cp1252"]))
def test_mutated_csv_files_do_no_harm(tmp_path: Path, edits: Any, encoding: str) -> None:
    text = files_of("rows")["set.csv"].decode()
    (tmp_path / "set.csv").write_bytes(mutate(text.encode(encoding), edits))
    for name in "abc":
        (tmp_path / f"{name}.png").write_bytes(picture(1))
    unharmed(tmp_path / "set.csv")


def test_the_fuzzing_reaches_both_ends(tmp_path: Path) -> None:
    """Untouched, every layout reads; so the tests above are not about one early error."""
    check: Callable[[Path], Any] = read_examples
    for kind in ("folders", "labels", "rows", "lists", "beside", "json beside", "karpathy",
                 "words"):
        for name, write in WRITERS.items():
            assert len(check(write(tmp_path / name, files_of(kind)))) == 3
    assert zlib.crc32(mutate(b"abc", [(0.5, 1, b"xy")])) == zlib.crc32(b"axyc")
