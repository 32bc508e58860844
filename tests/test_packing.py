"""Zips whose members are packed in ways that Python's zipfile does not know."""

from __future__ import annotations

import lzma
import struct
import subprocess
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import inflate64
import pytest
from backports import zstd
from sets import picture

from explorer.base.errors import InputError
from explorer.data import packing
from explorer.data.archives import open_archive
from explorer.data.containers import Limits
from explorer.data.sets import read_examples


def deflate64(raw: bytes) -> bytes:
    packer = inflate64.Deflater()
    return bytes(packer.deflate(raw) + packer.flush())


PACKERS: dict[int, Callable[[bytes], bytes]] = {
    packing.DEFLATE64: deflate64, packing.ZSTD: zstd.compress, packing.XZ: lzma.compress}


def packed_zip(path: Path, files: dict[str, bytes], method: int, pack: Callable[[bytes], bytes],
               flags: int = 0, extra: bytes = b"") -> Path:
    """A zip of one way of packing, header by header (APPNOTE, sections 4.3.7 and 4.3.12)."""
    out, directory = b"", b""
    for name, raw in files.items():
        held = pack(raw)
        common = struct.pack("<HHHHHIIIHH", 45, flags, method, 0, 33, zlib.crc32(raw), len(held),
                             len(raw), len(name), len(extra))
        directory += (b"PK\1\2" + struct.pack("<H", 45) + common
                      + struct.pack("<HHHII", 0, 0, 0, 0, len(out)) + name.encode() + extra)
        out += b"PK\3\4" + common + name.encode() + extra + held
    end = struct.pack("<HHHHIIH", 0, 0, len(files), len(files), len(directory), len(out), 0)
    path.write_bytes(out + directory + b"PK\5\6" + end)
    return path


FILES = {f"{name}/{k}.png": picture(40 * k + len(name)) for k in range(3)
         for name in ("cat", "dog")}


@pytest.mark.parametrize("method", PACKERS)
def test_members_come_back_whole(tmp_path: Path, method: int) -> None:
    long = bytes(range(256)) * 3_000  # more than one piece, packed and unpacked
    path = packed_zip(tmp_path / "set.zip", {**FILES, "long.bin": long}, method, PACKERS[method])
    box = open_archive(path)
    assert dict(zip(box.files, box.contents(box.files), strict=True)) == {**FILES,
                                                                         "long.bin": long}
    assert not box.report
    data = read_examples(packed_zip(path, FILES, method, PACKERS[method]))
    assert data.captions == ("a photo of a cat", "a photo of a dog")
    assert sum(len(places) for places, _ in data.pixels(32, 4)) == 6


@pytest.mark.parametrize("method", PACKERS)
@pytest.mark.parametrize("fault", [lambda z: z[:len(z) // 2], lambda z: b"\xff" * len(z),
                                   lambda z: z[:9] + bytes([z[9] ^ 255]) + z[10:], lambda z: b""])
def test_damage_is_noticed(tmp_path: Path, method: int, fault: Callable[[bytes], bytes]) -> None:
    path = packed_zip(tmp_path / "set.zip", {"cat/0.png": picture(0)}, method,
                      lambda raw: fault(PACKERS[method](raw)))
    box = open_archive(path)
    assert list(box.contents(box.files)) == [b""]
    assert box.report.counts == {"damaged": 1}


@pytest.mark.parametrize("method", PACKERS)
def test_a_header_that_lies_about_the_size_gives_no_more(tmp_path: Path, method: int) -> None:
    path = packed_zip(tmp_path / "set.zip", {"cat/0.png": bytes(60_000_000)}, method,
                      PACKERS[method])
    raw = path.read_bytes().replace(struct.pack("<I", 60_000_000), struct.pack("<I", 400))
    path.write_bytes(raw)
    box = open_archive(path, Limits(member=1_000))
    assert list(box.contents(box.files)) == [b""]
    assert sum(box.report.counts.values()) == 1


@pytest.mark.parametrize("method, flags, extra, named", [
    (99, 1, struct.pack("<HHHHBH", 0x9901, 7, 2, 0x4541, 3, 8), "AES-256"),
    (99, 1, struct.pack("<HHHHBH", 0x9901, 7, 2, 0x4541, 1, 8), "AES-128"),
    (99, 1, b"", "AES: make"), (8, 1, b"", "ZipCrypto"),
    (8, 0x41, b"", "PKWARE's strong encryption")])
def test_encryption_is_named(tmp_path: Path, method: int, flags: int, extra: bytes, named: str,
                             ) -> None:
    path = packed_zip(tmp_path / "set.zip", FILES, method, bytes, flags, extra)
    with pytest.raises(InputError) as caught:
        read_examples(path)
    assert "Left out 6 files (encrypted with " in str(caught.value)
    assert named in str(caught.value)
    assert "make a zip without a password" in str(caught.value)


def test_a_password_of_the_zip_program(tmp_path: Path) -> None:
    (tmp_path / "cat.png").write_bytes(picture(0))
    try:
        subprocess.run(["zip", "-q", "-P", "secret", "set.zip", "cat.png"], cwd=tmp_path,
                       check=True)
    except FileNotFoundError:
        pytest.skip("there is no program zip here")
    with pytest.raises(InputError, match="ZipCrypto"):
        read_examples(tmp_path / "set.zip")


@pytest.mark.parametrize("method, said", [
    (9, "Deflate64, which Windows uses above 2 GB (pip install inflate64 reads it)"),
    (93, "Zstandard (pip install backports.zstd reads it)"), (98, "not read: PPMd; pack"),
    (97, "not read: WavPack; pack"), (77, "not read; pack it again")])
def test_what_is_not_read_is_named(tmp_path: Path, method: int, said: str,
                                   monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "_has", lambda library: False)  # as where it is not installed
    path = packed_zip(tmp_path / "set.zip", FILES, method, bytes)
    with pytest.raises(InputError) as caught:
        read_examples(path)
    assert said in str(caught.value)


def test_what_is_not_installed_is_seen() -> None:
    assert packing._has("inflate64") and packing._has("backports.zstd")
    assert not packing._has("") and not packing._has("no_such_package.inside")


def test_a_zip_of_pythons_own_stays_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, raw in FILES.items():
            archive.writestr(name, raw)
    assert len(read_examples(tmp_path / "set.zip")) == 6
