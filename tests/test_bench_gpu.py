"""The GPU check, on the processor with a tiny model: it runs through, and it notices."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from training_helpers import tiny_model, write_tiny

from bench import gpu
from bench.gpu_checks import Check, attacks, defences, trainings
from bench.gpu_times import ON_CUDA, WAYS, Time, grown, run_by
from explorer.attacks.defences.registry import DEFENCES
from explorer.attacks.registry import REGISTRIES
from explorer.training.methods import METHODS


def test_everything_is_checked_and_timed(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "gpu.md"
    status = gpu.main(["--device", "cpu", "--model", str(write_tiny(tmp_path / "tiny")),
                       "--batches", "1,3", "--ways", "plain,traced", "--repeats", "1",
                       "--pictures", "3", "--out", str(out)])
    page, said = out.read_text("utf-8"), capsys.readouterr().out
    assert status == 0 and "DIFFERS" not in said, said
    count = 2 + sum(map(len, REGISTRIES.values())) + len(DEFENCES) + len(METHODS)
    assert said.count("agrees ") == count and f"All {count} checks agree" in page
    for what, names in {**REGISTRIES, "defence": DEFENCES, "training": METHODS}.items():
        for name in names:
            assert f"| {what} | `{name}` | yes |" in page
    assert "fails" not in page and "not for this model" not in page
    assert page.count("| traced |") == page.count("| plain |") >= 2
    assert "no GPU was there" in page


def test_another_model_is_noticed_in_each_kind_of_check() -> None:
    here, there = tiny_model(0), tiny_model(1)
    pairs = gpu.pairs_of(here, 3)
    found = [next(attacks(here, there, pairs)), next(defences(here, there, pairs)),
             next(trainings(here, there, pairs))]
    assert [c.agrees for c in found] == [False] * 3
    assert [c.what for c in found] == ["reading", "defence", "training"]


def test_what_fails_on_the_device_is_told_and_not_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = tiny_model(), tiny_model()

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no kernel for this\nand more")

    monkeypatch.setattr(there, "encode_image", broken)
    first = next(attacks(here, there, gpu.pairs_of(here, 3)))
    assert not first.agrees and "RuntimeError: no kernel for this" in first.said
    page = gpu.page(torch.device("cpu"), "tiny", [first],
                    [Time(4, "plain", "float32", 0.2, 1.0, 3), Time(4, "compiled", "float32", 0.1,
                     9.0, 3), Time(4, "CUDA graphs", "float32", 0, 0, 0, "RuntimeError: none")])
    assert "1 of 1 checks differ: reading clean pictures" in page
    assert "| 100 ms | 25.0 ms | 2.00 x | 9.0 s | 3 |" in page and "fails: RuntimeError" in page
    assert "**no**" in page


def test_pictures_are_as_many_as_asked_and_all_different() -> None:
    model = tiny_model()
    pairs = gpu.pairs_of(model, 3)
    many = grown(pairs, 8)
    assert len(many) == 8 and len({x.numpy().tobytes() for x in many.images}) == 8
    assert many.labels.tolist() == [0, 1, 2, 0, 1, 2, 0, 1]


def test_a_tower_run_another_way_answers_the_same() -> None:
    model = tiny_model()
    images = gpu.pairs_of(model, 2).images
    torch.testing.assert_close(run_by(model, "traced").encode_image(images),
                               model.encode_image(images), rtol=1e-4, atol=1e-5)
    assert model._compiled is None and set(ON_CUDA) <= set(WAYS)


def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str],
                                  monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main([]) == 2 and "no CUDA GPU" in capsys.readouterr().err


def test_the_verdict_counts_what_differs() -> None:
    good = Check("image", "pgd", True, "", (0.0, 0.0))
    page = gpu.page(torch.device("cpu"), "m", [good, replace(good, name="fgsm", agrees=False)], [])
    assert "1 of 2 checks differ: image fgsm" in page
