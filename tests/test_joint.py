"""The test every joint attack must pass; the image objectives by hand; and who may be weaker than
whom."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from attack_helpers import check
from helpers import grid_images
from text_helpers import (
    SENTENCES,
    TARGETS,
    OneByOne,
    build,
    check_readings,
    check_words,
    four_sentences,
    goal_of,
    read_again,
    score,
)
from torch import Tensor

from explorer.attacks.engine import Engine, Scaled, Scene, Step, rescaled
from explorer.attacks.image.classic import FGSM, IMAGE_ATTACKS, PGD, ImageAttack, Noise
from explorer.attacks.joint import (
    JOINT_ATTACKS,
    SCALES,
    Alternating,
    Apart,
    CoAttack,
    CoImage,
    JointAttack,
    Separate,
    SetGuided,
    apart,
)
from explorer.attacks.objective import Objective
from explorer.attacks.registry import name_of, settings_of
from explorer.attacks.result import Result
from explorer.attacks.run import run, stream
from explorer.attacks.text.base import TextAttack
from explorer.attacks.text.classic import TEXT_ATTACKS, Character, Typo
from explorer.base.errors import InputError
from explorer.base.words import words_changed
from explorer.data.pairs import Pairs
from explorer.models.encoder import DualEncoder
from explorer.results.verdicts import verdict

GOALS = [("classification", False), ("classification", True), ("similarity", False),
         ("similarity", True), ("embedding", False)]
CASES = [(n, g, t) for n in JOINT_ATTACKS for g, t in GOALS
         if not t or JOINT_ATTACKS[n].targeted]


def small(name: str, eps: float = 2 / 255, words: int = 1, **fields: Any) -> JointAttack:
    return JOINT_ATTACKS[name](image=PGD(eps=eps, step=max(eps, 1 / 255) / 2, steps=3),
                               text=build("typo", words=words), **fields)


@pytest.mark.parametrize(("name", "goal", "targeted"), CASES)
def test_every_attack(name: str, goal: str, targeted: bool, tiny: DualEncoder) -> None:
    pairs, attack, targets = four_sentences(), small(name), TARGETS if targeted else None
    flags = [(p.requires_grad, p.grad) for p in tiny.clip.parameters()]
    before = pairs.images.clone()

    events = list(stream(attack, tiny, pairs, goal, targets, seed=3))
    result = events[-1]
    assert isinstance(result, Result) and result.kind == "joint"
    check(result, attack.image.ball)
    check_words(result, attack.text, pairs)
    check_readings(tiny, result, pairs, goal, targets)

    steps = [e for e in events if isinstance(e, Step)]
    turns = {"separate": 1, "co-attack": 1, "set-guided": 1, "alternating": 3}[name]
    images = [s for s in steps if s.what == "image"]
    assert images == [Step(k, 3) for k in (1, 2, 3)] * turns
    assert sum(s.index == s.total for s in steps if s.what == "text") >= 1
    order = [s.what for a, s in zip([None, *steps], steps, strict=False)
             if a is None or a.what != s.what]
    assert order == {"separate": ["image", "text"], "co-attack": ["text", "image"],
                     "set-guided": ["text", "image", "text"],
                     "alternating": ["image", "text", "image", "text", "image"]}[name]
    assert flags == [(p.requires_grad, p.grad) for p in tiny.clip.parameters()]
    assert all(g is None for _, g in flags) and not any(m.training for m in tiny.clip.modules())
    assert torch.equal(pairs.images, before), "the input was written to"
    assert result.queries > 4 * turns

    start, end = score(tiny, pairs, result, goal, targets)
    if name in ("alternating", "set-guided") or (name, goal) == ("separate", "embedding"):
        assert bool((result.success | (end >= start - 1e-5)).all()) or goal == "classification"
    if name == "alternating":
        noise = run(Noise(attack.image.eps), tiny, pairs, goal, targets, seed=3)
        assert bool((result.success | (end >= score(tiny, pairs, noise, goal, targets)[1])).all())

    again = run(attack, tiny, pairs, goal, targets, seed=3)
    assert torch.equal(again.adversarial_images, result.adversarial_images)
    assert again.adversarial_captions == result.adversarial_captions

    nothing = run(small(name, eps=0.0, words=0), tiny, pairs, goal, targets, seed=3)
    assert torch.equal(nothing.adversarial_images, pairs.images)
    assert nothing.adversarial_captions == (SENTENCES,) * 4
    assert verdict(nothing)[1] == "Nothing changed: the budget is zero."
    pixels = run(small(name, words=0), tiny, pairs, goal, targets, seed=3)
    assert pixels.adversarial_captions == (SENTENCES,) * 4 and bool(pixels.linf_255.any())
    letters = run(small(name, eps=0.0), tiny, pairs, goal, targets, seed=3)
    assert not bool(letters.linf_255.any()) and bool(letters.words_changed.any())


@pytest.mark.parametrize(("name", "goal", "targeted"), CASES)
def test_a_batch_equals_its_halves(name: str, goal: str, targeted: bool,
                                   tiny: DualEncoder) -> None:
    pairs, model, attack = four_sentences(), OneByOne(tiny), small(name)
    whole = run(attack, model, pairs, goal, TARGETS if targeted else None, seed=5)
    halves = [run(attack, model, Pairs(pairs.images[part], SENTENCES, pairs.labels[part]), goal,
                  TARGETS[part] if targeted else None, seed=5)
              for part in (slice(0, 2), slice(2, 4))]
    assert torch.equal(whole.adversarial_images, torch.cat([h.adversarial_images for h in halves]))
    assert whole.adversarial_captions == sum((h.adversarial_captions for h in halves), ())


@pytest.mark.parametrize("name", JOINT_ATTACKS)
def test_the_record_of_turns(name: str, tiny: DualEncoder) -> None:
    pairs = four_sentences()
    result = run(small(name, eps=4 / 255), tiny, pairs, seed=1, record=True)
    assert result.frames is not None and result.trail is not None
    assert len(result.frames) == len(result.frame_captions) == len(result.frame_steps)
    assert len(result.frames) >= 4
    assert torch.equal(result.frames[0], pairs.images[0])
    assert result.frame_captions[0] == SENTENCES[0]
    assert torch.equal(result.frames[-1], result.adversarial_images[0])
    assert result.frame_captions[-1] == result.own_captions()[1]
    assert list(result.frame_steps) == sorted(set(result.frame_steps))
    assert bool(((result.frames - pairs.images[:1]).abs() <= 4 / 255 + 1e-6).all())
    for k, caption in enumerate(result.frame_captions):
        assert words_changed(SENTENCES[0], caption) <= 1
        text = tiny.encode_text([caption, *SENTENCES[1:]])
        with torch.no_grad():
            near = tiny.encode_image(result.frames[k : k + 1]) @ text.T
        torch.testing.assert_close(result.trail.cosines[k], near[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(result.trail.cosines[-1], result.adversarial.cosines[0])


# --- separate: the two halves -------------------------------------------------------------------


@pytest.mark.parametrize("objective", ["goal", "kl", "cosine"])
@pytest.mark.parametrize("captions", ["true", "all"])
def test_separate_is_its_two_halves(objective: str, captions: str, tiny: DualEncoder) -> None:
    """Bit by bit; the text half never sees the image: "goal" becomes "kl"."""
    pairs = four_sentences()
    image = PGD(eps=2 / 255, steps=3)
    text = Typo(objective=objective, captions=captions)
    both = run(Separate(image=image, text=text), tiny, pairs, seed=7)
    pixels = run(image, tiny, pairs, seed=7)
    blind = dataclasses.replace(text, objective="kl" if objective == "goal" else objective)
    words = run(blind, tiny, pairs, seed=7)
    assert torch.equal(both.adversarial_images, pixels.adversarial_images)
    assert both.adversarial_captions == words.adversarial_captions
    assert torch.equal(both.adversarial_text, words.adversarial_text)
    assert torch.equal(both.image_only.cosines, pixels.adversarial.cosines)
    assert torch.equal(both.text_only.cosines, words.adversarial.cosines)
    assert both.queries == pixels.queries + words.queries


# --- co-attack and set-guided: objectives by hand -----------------------------------------------


def kl(p: Tensor, q: Tensor) -> float:
    """KL(softmax(p) || softmax(q)) of two vectors, by sums."""
    a, b = p.exp() / p.exp().sum(), q.exp() / q.exp().sum()
    return float(sum(a[i] * (a[i] / b[i]).log() for i in range(len(a))))


def test_co_attacks_image_objective_by_hand() -> None:
    clean = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.6, 0.8]])
    image = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.6, 0.8]])
    text = torch.tensor([[0.0, 0.0, 1.0], [0.6, 0.8, 0.0]])
    labels = torch.tensor([1, 0])
    aim = CoImage(clean, labels, 3.0)
    want = [kl(clean[n], image[n]) + 3 * kl(text[labels[n]], image[n]) for n in range(2)]
    assert aim.score(image, text).tolist() == pytest.approx(want, abs=1e-6)
    own = torch.stack([text, text.flip(0)])
    want = [kl(clean[n], image[n]) + 3 * kl(own[n, labels[n]], image[n]) for n in range(2)]
    assert aim.score(image, own).tolist() == pytest.approx(want, abs=1e-6)
    part = aim.subset(torch.tensor([1]))
    assert part.score(image[1:], own[1:]).tolist() == pytest.approx(want[1:], abs=1e-6)
    assert not bool(aim.reached(image, text).any())


def test_set_guided_objective_by_hand() -> None:
    image = F.normalize(torch.tensor([[1.0, 2.0], [3.0, -1.0]]), dim=1)
    text = F.normalize(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), dim=1)
    aim = Apart(torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]))
    want = [-float(image[0] @ text[0] + image[0] @ text[1]) / 2, -float(image[1] @ text[2])]
    assert aim.score(image, text).tolist() == pytest.approx(want, abs=1e-6)
    assert aim.subset(torch.tensor([1])).score(image[1:], text).tolist() == pytest.approx(want[1:])


def test_the_picture_is_seen_at_all_scales(tiny: DualEncoder) -> None:
    images = grid_images(2, 32)
    text = tiny.encode_text(SENTENCES[:2])
    aim = Apart(torch.eye(2))
    plain = Objective.of(tiny, aim, text, images)
    loss = Scaled(**vars(plain), scales=SCALES)
    want = torch.zeros(2)
    for scale in (1.0, *SCALES):
        side = round(32 * scale)
        x = images if scale == 1 else F.interpolate(F.interpolate(
            images, (side, side), mode="bilinear"), (32, 32), mode="bilinear")
        want = want - (tiny.encode_image(x) * text).sum(1)
    torch.testing.assert_close(loss(images), want)
    assert torch.equal(rescaled(images, 1.0), images)
    assert sorted(SCALES) == [0.5, 0.75, 1.25, 1.5]
    assert loss.queries == 1 + len(SCALES)
    x = images.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(loss(x).sum(), x)
    assert bool(slope.flatten(1).any(1).all())


def test_scales_are_an_option_that_does_something(tiny: DualEncoder) -> None:
    pairs = four_sentences()
    with_, without = (run(small("set-guided", eps=4 / 255, several_scales=s), tiny, pairs)
                      for s in (True, False))
    assert not torch.equal(with_.adversarial_images, without.adversarial_images)
    assert with_.queries > without.queries


def test_set_guided_minds_every_caption_of_a_set(tiny: DualEncoder) -> None:
    images = four_sentences().images[:2]
    pairs = Pairs(images, SENTENCES, torch.tensor([0, 2]), ((0, 1), (2, 3)))
    scene = Scene(tiny, pairs, goal_of(tiny, pairs, "similarity", None), 0, images,
                  tiny.encode_image(images), tiny.encode_text(SENTENCES))
    assert apart(Engine(scene)).members.tolist() == [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]]
    attack = small("set-guided", eps=4 / 255)
    result = run(attack, tiny, pairs, "similarity")
    for row, own in zip(result.adversarial_captions, pairs.sets or (), strict=True):
        assert {j for j in range(4) if row[j] != SENTENCES[j]} == set(own)
    one = run(attack, tiny, Pairs(images, SENTENCES, torch.tensor([0, 2])), "similarity")
    assert not torch.equal(one.adversarial_images, result.adversarial_images)
    features, text = read_again(tiny, result)
    for n, own in enumerate(pairs.sets or ()):
        mean = float((features[n] @ text[n, list(own)].T).mean())
        assert mean < float(result.clean.cosines[n, list(own)].mean())


def test_alpha_counts(tiny: DualEncoder) -> None:
    pairs = four_sentences()
    none, much = (run(small("co-attack", eps=8 / 255, alpha=a), tiny, pairs) for a in (0.0, 10.0))
    assert none.adversarial_captions == much.adversarial_captions
    assert not torch.equal(none.adversarial_images, much.adversarial_images)

    def own_kl(result: Result) -> float:
        features, text = read_again(tiny, result)
        return sum(kl(text[n, n], features[n]) for n in range(4))

    assert own_kl(much) > own_kl(none)


# --- alternating: never weaker than a half ------------------------------------------------------


@pytest.mark.parametrize(("goal", "targeted"), GOALS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_alternating_is_never_weaker_than_a_half(goal: str, targeted: bool, seed: int,
                                                 tiny: DualEncoder) -> None:
    pairs, targets = four_sentences(), TARGETS if targeted else None
    halves: list[tuple[ImageAttack, TextAttack]] = [
        (PGD(eps=2 / 255, steps=3), build("typo")),
        (FGSM(eps=8 / 255), build("character", rho=8)),
        (PGD(eps=1 / 255, steps=2), build("synonym", objective="kl", captions="all")),
    ]
    image, text = halves[seed]
    both = run(Alternating(image=image, text=text, rounds=1 + seed % 2), tiny, pairs, goal,
               targets, seed)
    after = score(tiny, pairs, both, goal, targets)[1]
    check_words(both, dataclasses.replace(text, captions="all"), pairs)
    for half in (image, text):
        alone = run(half, tiny, pairs, goal, targets, seed)
        value = score(tiny, pairs, alone, goal, targets)[1]
        assert bool((both.success | ~alone.success).all()), "a half alone succeeds, both do not"
        assert bool(((after >= value - 1e-5) | (both.success & ~alone.success)).all())


def test_alternating_on_the_embedded_model(pocket: DualEncoder, cat: Pairs) -> None:
    image, text = PGD(eps=1 / 255, steps=3), build("bert")
    both = run(Alternating(image=image, text=text), pocket, cat)
    check(both, image.ball)
    check_words(both, text, cat)
    check_readings(pocket, both, cat, "classification", None)
    after = score(pocket, cat, both, "classification", None)[1]
    for half in (image, text):
        alone = run(half, pocket, cat)
        assert float(after) >= float(score(pocket, cat, alone, "classification", None)[1]) - 1e-4


def test_more_rounds_are_never_weaker(tiny: DualEncoder) -> None:
    pairs = four_sentences()
    ends = [score(tiny, pairs, run(small("alternating", rounds=r), tiny, pairs, "similarity"),
                  "similarity", None)[1] for r in (1, 3)]
    assert bool((ends[1] >= ends[0] - 1e-6).all())


# --- settings and mistakes ----------------------------------------------------------------------


def test_settings_of_the_halves_do_not_hide_each_other() -> None:
    for joint in JOINT_ATTACKS.values():
        own = {f.name for f in dataclasses.fields(joint)} - {"image", "text"}
        for image in IMAGE_ATTACKS.values():
            for text in TEXT_ATTACKS.values():
                first, second = ({f.name for f in dataclasses.fields(k)} for k in (image, text))
                assert not first & second and not own & (first | second), (image, text, joint)


def test_the_registry_names_its_attacks(tiny: DualEncoder) -> None:
    for name, kind in JOINT_ATTACKS.items():
        attack = small(name)
        assert name_of(attack) == name and kind.title and kind.source and kind.__doc__
        said = settings_of(attack)
        assert (said["image_attack"], said["text_attack"]) == ("pgd", "typo")
        assert said["eps"] == 2 / 255 and said["words"] == 1
        assert run(attack, tiny, four_sentences()).settings == said


def test_wrong_questions_are_refused(tiny: DualEncoder) -> None:
    pairs = four_sentences()
    for name in ("co-attack", "set-guided"):
        with pytest.raises(InputError, match=f"{name} has no target.*separate or alternating"):
            run(small(name), tiny, pairs, targets=TARGETS)
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="alpha"):
            CoAttack(alpha=wrong)
    for rounds in (0, 21, 1.5):
        with pytest.raises(InputError, match="rounds must be a whole number from 1 to 20"):
            Alternating(rounds=rounds)  # type: ignore[arg-type]


def test_stopping_stops_both_halves(tiny: DualEncoder) -> None:
    for stop in (1, 4, 6):
        events: Any = stream(small("alternating"), tiny, four_sentences())
        for _ in range(stop):
            assert isinstance(next(events), Step)
        events.close()
        assert list(events) == []


def test_set_guided_leaves_scales_out_of_other_sizes(tiny: DualEncoder) -> None:
    """Odd factors never make an empty picture."""
    assert rescaled(torch.rand(1, 3, 1, 1), 0.1).shape == (1, 3, 1, 1)
    attack = SetGuided(image=PGD(eps=2 / 255, steps=1), text=Character(rho=3))
    assert bool(run(attack, tiny, four_sentences(), "similarity").linf_255.any())
