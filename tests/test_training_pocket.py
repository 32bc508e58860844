"""Two steps on the embedded base with the real text attack; memory over a thousand steps."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from training_helpers import SMALL, tiny_model, upper_case, write_parquet

from explorer.base.words import words_changed
from explorer.data.examples import load_examples
from explorer.models.folders import base_config
from explorer.models.library import Library
from explorer.models.loaders import open_model
from explorer.training.data import open_training
from explorer.training.export import _kept_in_half, export, place, write_card
from explorer.training.recipe import Recipe
from explorer.training.trainer import Trainer, make_accelerator


def photo_set(path: Path) -> Path:
    """A CSV of the example photos and the captions that are true of them."""
    rows = [f'{photo.path},"{photo.truth}"' for photo in load_examples().values()]
    path.write_text("image,caption\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return path


def test_two_steps_on_pocket_move_both_towers_and_one_word(tmp_path: Path) -> None:
    data, _ = open_training(str(photo_set(tmp_path / "set.csv")), "a photo of a {}")
    card = Library().card("pocket")
    recipe = Recipe(method="mmcoa", batch=4, steps=2, inner_steps=1, lr=1e-4, warmup=0)
    trainer = Trainer(recipe, open_model(card, "cpu"), data, make_accelerator(True))
    before = {n: p.detach().clone() for n, p in trainer.student.clip.named_parameters()}
    steps = list(trainer.steps())
    assert [s.losses.keys() for s in steps] == [{"image", "text"}] * 2
    now = dict(trainer.student.clip.named_parameters())
    moved = {n.split(".")[0] for n, p in before.items() if not torch.equal(p, now[n])}
    assert {"visual", "text", "logit_scale"} <= moved
    words = trainer.objective.attacker.words
    assert words is not None and words.kept
    changed = [words_changed(clean, made) for clean, (made, _) in words.kept.items()]
    assert max(changed) == 1 and min(changed) >= 0

    aside = export(trainer.refresh(), card, tmp_path / "out" / "model")
    write_card(aside, {**vars(card), "id": "new", "base": "pocket"})
    place(aside, tmp_path / "out" / "model")
    assert _kept_in_half(card)
    library = Library([tmp_path / "out"])
    assert ("pocket", "new") in library.pairs()
    caption = ["a photo of a cat"]
    torch.testing.assert_close(library.load("new", "cpu").encode_text(caption),
                               trainer.refresh().encode_text(caption), rtol=0, atol=5e-3)


def test_a_built_in_architecture_gets_its_config_from_open_clip() -> None:
    model = tiny_model()
    card = Library().card("pocket")
    built_in = type(card)("x", "x", "standard", "open_clip:ViT-B-32-quickgelu:openai", "none", "")
    config = base_config(built_in, model)
    assert config["model_cfg"]["vision_cfg"]["patch_size"] == 32
    assert config["preprocess_cfg"]["mean"] == [0.5, 0.5, 0.5]


def resident() -> float:
    """MB in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_memory_is_flat_over_a_thousand_steps(tmp_path: Path) -> None:
    data, _ = open_training(str(write_parquet(tmp_path / "set.parquet", 200)), "a photo of a {}")
    recipe = Recipe(**{**SMALL, "method": "mmcoa+", "batch": 4, "steps": 1000,
                       "inner_steps": 1})
    trainer = Trainer(recipe, tiny_model(), data, make_accelerator(True), upper_case)
    seen = {s.index: resident() for s in trainer.steps() if s.index % 100 == 0}
    print({k: round(v, 1) for k, v in seen.items()})
    assert seen[1000] - seen[200] < 20  # MB: 25 kB a step
