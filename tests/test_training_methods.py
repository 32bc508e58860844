"""What each method computes on a tiny model, and that its attacks leave no trace."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from training_helpers import NAMES, SMALL, four_pictures, objective, tiny_model

from explorer.attacks.goals import Misclassify
from explorer.attacks.image.classic import PGD
from explorer.base.errors import InputError
from explorer.base.randomness import PerImage
from explorer.models.cards import Card
from explorer.models.encoder import DualEncoder
from explorer.training.attention import require_attention
from explorer.training.inner import CaptionAttacks, caption_attack, mix
from explorer.training.methods import METHODS
from explorer.training.recipe import Recipe
from explorer.training.student import student_of, unit, untouched

BATCH = four_pictures()
CLASSES = [f"a photo of a {name}" for name in NAMES]
TERMS = {
    "clip": {"clean"}, "tecoa": {"image"}, "fare": {"image"},
    "pmg-aft": {"image", "kl_frozen", "kl_clean"},
    "tga": {"image", "attention_adv_image", "attention_image"}, "leaf": {"text"},
    "fare+leaf": {"image", "text"}, "mmcoa": {"image", "text"},
    "mmcoa+": {"image", "text", "joint", "anchor_image", "anchor_text"},
}


def recipe(method: str, **values: object) -> Recipe:
    return Recipe(method=method, **{**SMALL, **values})


def features(model: DualEncoder, pixels: torch.Tensor) -> torch.Tensor:
    return model.encode_image(pixels)


def attacked(model: DualEncoder, steps: int = 2) -> torch.Tensor:
    """The pictures of BATCH after PGD's last step, by the library's parts alone."""
    text = model.encode_text(CLASSES)
    aim = Misclassify(BATCH.groups, model.scale)
    attack = PGD(1 / 255, step=1 / 255, steps=steps)
    seed = mix(0, "image", 3)
    *_, last = attack.iterate(lambda x: aim.score(model.encode_image(x), text), BATCH.pixels,
                              PerImage(seed, BATCH.pixels))
    return last


def test_the_table_is_of_all_methods() -> None:
    assert TERMS.keys() == METHODS.keys()


@pytest.mark.parametrize("method", METHODS)
def test_each_method_has_its_terms_and_trains_its_parts_alone(method: str) -> None:
    r = recipe(method, joint=0.5 if method == "mmcoa+" else 0.0)
    made = objective(r)
    terms = made.terms(BATCH, 3)
    assert terms.keys() == TERMS[method]
    assert all(t.shape == () and torch.isfinite(t) for t in terms.values())
    torch.stack(list(terms.values())).sum().backward()
    for part, parameters in made.student.towers.items():
        touched = any(p.grad is not None and bool(p.grad.any()) for p in parameters)
        assert touched == (part in METHODS[method].trains), part


def test_tecoa_is_the_cross_entropy_of_the_librarys_own_attack() -> None:
    model, made = tiny_model(), objective(recipe("tecoa"))
    logits = model.scale * features(model, attacked(model)) @ model.encode_text(CLASSES).T
    expected = F.cross_entropy(logits, BATCH.groups)
    torch.testing.assert_close(made.terms(BATCH, 3)["image"], expected)


def test_mmcoa_is_the_papers_equation() -> None:
    """0.5 [CE(S(I',T)) + CE(S(T,I'))] + 0.5 [CE(S(I,T')) + CE(S(T',I))]."""
    model, made = tiny_model(), objective(recipe("mmcoa"))
    terms = made.terms(BATCH, 3)
    words = made.attacker.words
    assert words is not None
    changed = [words.kept[c][0] for c in BATCH.captions]
    assert changed != list(BATCH.captions)
    own = torch.arange(4)
    clean, adv = features(model, BATCH.pixels), features(model, attacked(model))
    text, adv_text = model.encode_text(BATCH.captions), model.encode_text(changed)
    for name, image, said in (("image", adv, text), ("text", clean, adv_text)):
        logits = model.scale * image @ said.T
        expected = 0.5 * (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own))
        torch.testing.assert_close(terms[name], expected)


def test_fare_leads_away_from_the_frozen_features_and_back() -> None:
    model, made = tiny_model(), objective(recipe("fare", eps=4 / 255))
    raw = model.clip.encode_image((BATCH.pixels - 0.5) / 0.25).detach()  # type: ignore[operator]
    seed = mix(0, "image", 3)

    def drift(x: torch.Tensor) -> torch.Tensor:
        now = model.clip.encode_image((x - 0.5) / 0.25)  # type: ignore[operator]
        moved: torch.Tensor = (now - raw).square().sum(1)
        return moved

    *_, last = PGD(4 / 255, step=1 / 255, steps=2).iterate(drift, BATCH.pixels,
                                                          PerImage(seed, BATCH.pixels))
    torch.testing.assert_close(made.terms(BATCH, 3)["image"], drift(last).mean(),
                               rtol=1e-4, atol=1e-7)


def test_the_frozen_model_stays_while_the_student_moves() -> None:
    made = objective(recipe("mmcoa+"))
    assert made.frozen is not None
    before = [p.clone() for p in made.frozen.parameters()]
    with torch.no_grad():
        for p in made.student.parameters():
            p.add_(0.01)
    made.terms(BATCH, 0)["anchor_image"].backward()
    assert all(torch.equal(a, b) for a, b in zip(before, made.frozen.parameters(), strict=True))
    assert all(p.grad is None for p in made.frozen.parameters())


def test_an_unmoved_student_has_only_the_attack_in_its_anchors() -> None:
    made = objective(recipe("mmcoa+", eps=0.0, attack_sides="image"))
    terms = made.terms(BATCH, 0)
    assert float(terms["anchor_image"].detach()) == pytest.approx(0.0, abs=1e-5)
    assert float(terms["anchor_text"].detach()) == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize(("sides", "left"), [("image", {"image"}), ("text", {"text"})])
def test_one_attacked_side_leaves_one_term(sides: str, left: set[str]) -> None:
    assert objective(recipe("mmcoa", attack_sides=sides)).terms(BATCH, 0).keys() == left


def test_the_attacks_leave_no_gradient_mode_or_flag_behind() -> None:
    made = objective(recipe("mmcoa", norm_layers="train"))
    made.student.train()
    needed = [p.requires_grad for p in made.student.parameters()]
    captions = made.attacker.candidates(BATCH.groups, 0)
    made.attacker.pixels(BATCH, 0, captions, None)
    made.attacker.captions(BATCH, 0)
    assert all(p.grad is None for p in made.student.parameters())
    assert [p.requires_grad for p in made.student.parameters()] == needed
    assert all(m.training for m in made.student.modules())


def test_the_training_gradient_is_the_loss_gradient_alone() -> None:
    """The released code of MMCoA adds the attack's gradients to it."""
    made = objective(recipe("tecoa"))
    made.terms(BATCH, 3)["image"].backward()
    pixels = attacked(tiny_model())
    model = tiny_model()
    visual = model.clip.visual
    assert isinstance(visual, torch.nn.Module)
    visual.requires_grad_(True)
    logits = model.scale * model.encode_image(pixels) @ model.encode_text(CLASSES).T
    F.cross_entropy(logits, BATCH.groups).backward()
    for ours, theirs in zip(made.student.clip.visual.parameters(),
                            visual.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6)


def test_no_step_of_the_attack_computes_weight_gradients() -> None:
    """Weights need no gradient while the attack runs, so none can be computed."""
    made, seen = objective(recipe("tecoa")), set[bool]()
    original = made.student.forward

    def watched(*args: object, **kwargs: object) -> object:
        seen.add(any(p.requires_grad for p in made.student.parameters()))
        return original(*args, **kwargs)  # type: ignore[arg-type]

    made.student.forward = watched  # type: ignore[method-assign, assignment]
    made.attacker.pixels(BATCH, 0, made.attacker.candidates(BATCH.groups, 0), None)
    assert seen == {False}


def test_frozen_parts_stay_frozen() -> None:
    made = objective(recipe("mmcoa", freeze="text, scale"))
    torch.stack(list(made.terms(BATCH, 0).values())).sum().backward()
    for part, parameters in made.student.towers.items():
        assert any(p.grad is not None for p in parameters) == (part == "image")


def test_same_captions_are_one_candidate_in_a_batch() -> None:
    made = objective(recipe("tecoa", against="batch"))
    table, place = made.attacker.candidates(torch.tensor([2, 0, 2, 3]), 0)
    assert table.shape[0] == 3 and place.tolist() == [1, 0, 1, 2]
    model = tiny_model()
    torch.testing.assert_close(table, model.encode_text([CLASSES[k] for k in (0, 2, 3)]))


def test_captions_are_attacked_once_and_again_after_refresh_steps() -> None:
    asked: list[list[str]] = []

    def attack(encode: object, captions: object, away_from: object, seed: int) -> list[str]:
        asked.append(list(captions))  # type: ignore[call-overload]
        return [f"{c} {seed % 7}" for c in asked[-1]]

    def nothing(captions: object) -> torch.Tensor:
        return torch.zeros(len(captions), 2)  # type: ignore[arg-type]

    words = CaptionAttacks(attack, 2, 0)
    first = words.at(0, nothing, nothing, ["b", "a", "b"], ["b", "a", "b"])
    assert asked == [["a", "b"]] and first[0] == first[2]
    assert words.at(1, nothing, nothing, ["b", "c"], ["b", "c"])[0] == first[0]
    again = CaptionAttacks(attack, 2, 0)
    again.restore(words.state())
    assert again.kept == words.kept
    words.at(2, nothing, nothing, ["b", "c"], ["b", "c"])
    assert asked == [["a", "b"], ["c"], ["b"]]
    assert set(words.kept) == {"b", "c"}  # what is out of date is forgotten


def test_the_characters_of_leaf_are_the_librarys() -> None:
    model = tiny_model()
    student = student_of(model)
    made = objective(recipe("leaf", rho=10), student, inner=caption_attack(recipe("leaf", rho=10)))
    with untouched(student):
        now = made.attacker.captions(BATCH, 0, made.attacker.encode)
    far = unit(made._still(BATCH.captions))
    moved = (made.attacker.encode(now) * far).sum(1)
    assert len(now) == 4 and now != BATCH.captions
    assert bool((moved <= 1 + 1e-5).all()) and float(moved.min()) < 0.999
    for before, after in zip(BATCH.captions, now, strict=True):
        assert abs(len(before) - len(after)) <= 1  # one keystroke


def test_tga_needs_a_transformer() -> None:
    with pytest.raises(InputError, match="attention maps, which this model's image tower"):
        require_attention(torch.nn.Conv2d(3, 3, 1))


def test_models_that_cannot_be_saved_are_refused() -> None:
    model = tiny_model()
    model.card = dataclasses.replace(model.card, source="transformers:x/y")
    with pytest.raises(InputError, match="is no open_clip model"):
        student_of(model)
    assert isinstance(model.card, Card)
