"""Bundles that replay, and those that must not."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from helpers import CAPTIONS

from explorer.attacks.image.classic import IMAGE_ATTACKS, PGD
from explorer.attacks.joint import JOINT_ATTACKS
from explorer.attacks.registry import Attack, attack_of, kind_of, name_of, settings_of
from explorer.attacks.result import Result
from explorer.attacks.run import run
from explorer.attacks.text.classic import TEXT_ATTACKS, Typo
from explorer.base.errors import InputError
from explorer.data.pairs import Pairs
from explorer.models.encoder import DualEncoder
from explorer.models.library import Library
from explorer.results.bundle import MAIN, bundle_bytes, read_bundle
from explorer.results.replay import Check, replay

EVERY: list[Attack] = [kind() for registry in (IMAGE_ATTACKS, TEXT_ATTACKS, JOINT_ATTACKS)
                       for kind in registry.values()]


@pytest.fixture(scope="module")
def made(tiny: DualEncoder, four: Pairs) -> Result:
    pairs = Pairs(four.images[:1], CAPTIONS, four.labels[:1])
    joint = JOINT_ATTACKS["separate"](image=PGD(4 / 255, steps=3), text=Typo())
    return run(joint, tiny, pairs, seed=5)


@pytest.fixture(scope="module")
def saved(made: Result, tiny: DualEncoder) -> bytes:
    return bundle_bytes([made], {"tiny": tiny.fingerprint}, "a block")


def library_of(model: DualEncoder) -> Library:
    return cast(Library, SimpleNamespace(load=lambda name, device=None: model))


def changed(raw: bytes, change: Callable[[dict[str, bytes]], None]) -> bytes:
    """The zip with its files changed."""
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    change(files)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def edited(raw: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    """The zip with bundle.json changed."""
    def work(files: dict[str, bytes]) -> None:
        main = json.loads(files[MAIN])
        change(main)
        files[MAIN] = json.dumps(main).encode()

    return changed(raw, work)


@pytest.mark.parametrize("attack", EVERY, ids=name_of)
def test_settings_lead_back_to_the_attack(attack: Attack) -> None:
    plain = json.loads(json.dumps(settings_of(attack)))
    assert attack_of(kind_of(attack), name_of(attack), plain) == attack


def test_a_bundle_holds_what_was_shown(made: Result, saved: bytes, tiny: DualEncoder) -> None:
    bundle = read_bundle(saved)
    assert torch.equal(bundle.cases[0].clean, made.images[0])
    assert torch.equal(bundle.cases[0].adversarial, made.adversarial_images[0])
    assert bundle.captions == CAPTIONS and bundle.alt == "a block"
    assert bundle.models == {"tiny": tiny.fingerprint}
    numbers = bundle.cases[0].numbers
    assert tuple(numbers["adversarial"]["captions"]) == made.adversarial_captions[0]
    assert bundle_bytes([made], {"tiny": tiny.fingerprint}, "a block") == saved


def test_a_bundle_replays(saved: bytes, tiny: DualEncoder) -> None:
    checks = list(replay(read_bundle(saved), library_of(tiny), rerun=True))
    assert [c.what for c in checks] == ["weights", "clean", "adversarial", "distance", "rerun"]
    assert all(c.holds for c in checks), checks
    assert "pixel for pixel" in checks[-1].sentence


def failing(raw: bytes, model: DualEncoder) -> list[str]:
    found: list[Check] = list(replay(read_bundle(raw), library_of(model)))
    return [c.what for c in found if c.holds is False]


def test_changed_numbers_and_weights_are_noticed(saved: bytes, tiny: DualEncoder) -> None:
    def better(main: dict[str, Any]) -> None:
        main["runs"][0]["adversarial"]["cosines"][0] += 0.01

    def closer(main: dict[str, Any]) -> None:
        main["runs"][0]["linf_255"] = 1

    def other(main: dict[str, Any]) -> None:
        main["models"]["tiny"] = "0" * 64

    assert failing(edited(saved, better), tiny) == ["adversarial"]
    assert failing(edited(saved, closer), tiny) == ["distance"]
    assert failing(edited(saved, other), tiny) == ["weights"]


def test_a_tampered_picture_is_refused(saved: bytes) -> None:
    def swap(files: dict[str, bytes]) -> None:
        files["tiny-adversarial.png"] = files["tiny-clean.png"]

    with pytest.raises(InputError, match=r"tiny-adversarial\.png .* hash differs"):
        read_bundle(changed(saved, swap))


@pytest.mark.parametrize(("change", "say"), [
    (lambda m: m.update(format=99), "format 99"),
    (lambda m: m.update(what="else"), "no bundle of this app"),
    (lambda m: m.pop("runs"), "lacks something"),
    (lambda m: m.update(runs=[]), "no case"),
    (lambda m: m.update(label=99), "no case"),
    (lambda m: m.update(captions=["a", "a"]), "the same"),
    (lambda m: m["runs"][0]["files"].update(clean="../x.png"), "no hash"),
    (lambda m: m["sha256"].pop("tiny-clean.png"), "no hash"),
])
def test_wrong_bundles_are_refused(change: Callable[[dict[str, Any]], None], say: str,
                                   saved: bytes) -> None:
    with pytest.raises(InputError, match=say):
        read_bundle(edited(saved, change))


def test_hostile_zips_are_refused(saved: bytes, tmp_path: Path) -> None:
    def zipped(entries: dict[str, bytes]) -> bytes:
        def work(files: dict[str, bytes]) -> None:
            files.clear()
            files.update(entries)

        return changed(saved, work)

    for raw, say in [
        (b"no zip", "no zip"), (saved[:-40], "no zip"), (zipped({}), "no bundle"),
        (zipped({"../a": b""}), "folders"), (zipped({f"{i}": b"" for i in range(300)}), "files"),
        (zipped({MAIN: b"[" * 100_000}), "no bundle"), (zipped({MAIN: b"\xff"}), "no bundle"),
    ]:
        with pytest.raises(InputError, match=say):
            read_bundle(raw)
    with pytest.raises(InputError, match="cannot read"):
        read_bundle(tmp_path / "none.zip")
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(120_000_000))
    with pytest.raises(InputError, match="MB unpacked"):
        read_bundle(bomb.getvalue())


@pytest.mark.parametrize("settings", [
    {"kind": "video", "attack": {"name": "pgd"}}, {"attack": {"name": "nothing"}},
    {"attack": {"name": "pgd", "eps": "large"}}, {"attack": {"name": "pgd", "steps": [1]}},
])
def test_a_rerun_of_nonsense_is_one_sentence(settings: dict[str, Any], saved: bytes,
                                             tiny: DualEncoder) -> None:
    raw = edited(saved, lambda main: main["runs"][0].update(settings))
    with pytest.raises(InputError):
        list(replay(read_bundle(raw), library_of(tiny), rerun=True))
