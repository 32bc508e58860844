"""A trained model beside its base: by hand on tiny models, kept, and made anew for new weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from training_helpers import SMALL, upper_case, write_parquet, write_tiny

from explorer.analysis.failures.pictures import clean_picture
from explorer.attacks.run import run as attack
from explorer.base.errors import InputError
from explorer.data.pairs import Pairs, to_pixels
from explorer.models.library import Library
from explorer.models.loaders import sha256_of
from explorer.training.comparison import FOLDER, compare, compared
from explorer.training.plan import TrainingPlan
from explorer.training.probe import paper_attack
from explorer.training.recipe import Recipe
from explorer.training.run import read_data, run


def trained(place: Path, probes: int = 8) -> TrainingPlan:
    write_tiny(place / "models" / "tiny")
    write_parquet(place / "set.parquet", 50)
    plan = TrainingPlan(Recipe(**{**SMALL, "steps": 2}), str(place / "set.parquet"),
                        f"local-dir:{place / 'models' / 'tiny'}", place / "out", name="new",
                        probe_images=probes, save_every=2, cpu=True)
    list(run(plan, text_inner=upper_case))
    return plan


def test_held_out_pictures_are_attacked_as_by_hand(tmp_path: Path) -> None:
    plan = trained(tmp_path)
    assert compared(plan.out) is None
    library = Library([plan.out])
    *_, last = compare(plan.out, library)
    assert (last.done, last.total) == (8, 8)  # fewer than nine were held out
    hunt, found = compared(plan.out) or pytest.fail("nothing was kept")
    assert hunt.models == (plan.base, "new") and hunt.settings["eps"] == plan.recipe.eps
    held_out = read_data(plan)[1]
    assert held_out is not None and found.captions == held_out.captions
    assert tuple(case.label for case in found.cases) == held_out.labels[:8]
    for side, name in enumerate(hunt.models):
        model = library.load(name)
        pixels = torch.stack([to_pixels(clean_picture(plan.out / FOLDER, k), model.frame)
                              for k in range(8)])
        pairs = Pairs(pixels, found.captions, torch.tensor(held_out.labels[:8]))
        alone = attack(paper_attack(plan.recipe), model, pairs, seed=plan.recipe.seed)
        assert [case.sides[side].was for case in found.cases] == alone.clean.prediction.tolist()
        assert [case.sides[side].now for case in found.cases] == (
            alone.adversarial.prediction.tolist())


def test_it_is_kept_until_the_weights_are_others(tmp_path: Path) -> None:
    plan = trained(tmp_path)
    list(compare(plan.out, Library([plan.out])))
    rows = plan.out / FOLDER / "rows.jsonl"
    first = rows.stat().st_mtime_ns
    list(compare(plan.out, Library([plan.out])))
    assert rows.stat().st_mtime_ns == first
    weights, card = plan.out / "model" / "open_clip_model.safetensors", plan.out / "model/card.json"
    save_file({k: v + 0.01 if v.is_floating_point() else v for k, v in load_file(weights).items()},
              weights)  # trained on, under the same name
    card.write_text(json.dumps({**json.loads(card.read_text()), "sha256": sha256_of(weights)}))
    list(compare(plan.out, Library([plan.out])))
    assert rows.stat().st_mtime_ns != first
    assert len((compared(plan.out) or pytest.fail("lost"))[1].cases) == 8


def test_without_held_out_pictures_it_says_so(tmp_path: Path) -> None:
    plan = trained(tmp_path, probes=0)
    with pytest.raises(InputError, match="nothing fair to compare on"):
        list(compare(plan.out, Library([plan.out])))
    with pytest.raises(InputError, match="not there any more"):
        list(compare(tmp_path / "nowhere", Library()))
