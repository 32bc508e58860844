"""The test every image attack must pass, over the whole registry, and the run around them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from attack_helpers import (
    BUDGETS,
    CASES,
    RANDOM,
    STOPS,
    TARGETS,
    aim_and_features,
    build,
    check,
    finish,
    reopened,
    scores,
)
from helpers import CAPTIONS, Linear, grid_images
from torch import Tensor

from explorer.attacks.engine import Step
from explorer.attacks.goals import make_goal
from explorer.attacks.image.classic import (
    EOT,
    FGSM,
    IMAGE_ATTACKS,
    MIFGSM,
    PGD,
    ImageAttack,
    Noise,
    Square,
    Strong,
    Transfer,
)
from explorer.attacks.objective import Measure, dlr, goal_score
from explorer.attacks.registry import name_of
from explorer.attacks.result import Result
from explorer.attacks.run import check_targets, drain, run, stream
from explorer.base.errors import InputError
from explorer.base.randomness import PerImage
from explorer.data.pairs import Pairs
from explorer.models.encoder import DualEncoder

CLIMBS: dict[str, Measure] = {"apgd-dlr": dlr, "apgd-t": dlr}  # the others climb the goal's score
CURVED = ("transfer", "eot", "square", "universal", "noise")  # no closed form
BLIND = tuple(name for name, kind in IMAGE_ATTACKS.items() if kind.blind)


@pytest.mark.parametrize(("norm", "goal", "targeted"), CASES)
@pytest.mark.parametrize("name", IMAGE_ATTACKS)
def test_every_attack(name: str, norm: str, goal: str, targeted: bool, tiny: DualEncoder,
                      four: Pairs) -> None:
    attack, targets = build(name, norm), TARGETS if targeted else None
    flags = [(p.requires_grad, p.grad) for p in tiny.clip.parameters()]
    modes = [m.training for m in tiny.clip.modules()]
    before = four.images.clone()

    events = list(stream(attack, tiny, four, goal, targets, seed=3))
    result = events[-1]
    assert isinstance(result, Result)
    check(result, attack.ball)

    steps = [e for e in events if isinstance(e, Step)]
    assert steps == [Step(k, attack.total) for k in range(1, len(steps) + 1)]
    assert len(steps) == attack.total or (name in STOPS and 1 <= len(steps) < attack.total)
    assert flags == [(p.requires_grad, p.grad) for p in tiny.clip.parameters()]
    assert not any(needs for needs, _ in flags) and all(g is None for _, g in flags)
    assert modes == [m.training for m in tiny.clip.modules()] and not any(modes)
    assert torch.equal(four.images, before), "the input was written to"

    after = scores(tiny, four, result.adversarial_images, goal, targets)
    if name not in BLIND:
        start = scores(tiny, four, four.images, goal, targets)
        assert bool((result.success | (after >= start)).all())
        assert not bool((result.success < clean_success(tiny, four, goal, targets)).any())
    if name not in (*BLIND, "square"):  # 20 random squares are no better than luck here
        noise = run(Noise(attack.eps, norm), tiny, four, goal, targets, seed=3)
        by = CLIMBS.get(name, goal_score)
        mine, chance = (by(*aim_and_features(tiny, four, pictures, goal, targets))
                        for pictures in (result.adversarial_images, noise.adversarial_images))
        assert bool((result.success | (mine >= chance)).all())

    again = run(attack, tiny, four, goal, targets, seed=3)
    assert torch.equal(again.adversarial_images, result.adversarial_images)
    if name in RANDOM:
        other = run(attack, tiny, four, goal, targets, seed=4)
        assert not torch.equal(other.adversarial_images, result.adversarial_images)

    nothing = run(build(name, norm, 0.0), tiny, four, goal, targets, seed=3)
    assert torch.equal(nothing.adversarial_images, four.images)
    assert not bool(nothing.changed.any()) and not bool(nothing.linf_255.any())


def clean_success(model: DualEncoder, pairs: Pairs, goal: str, targets: Tensor | None) -> Tensor:
    aim, features, text = aim_and_features(model, pairs, pairs.images, goal, targets)
    met: Tensor = aim.reached(features, text)
    return met


class OneByOne(DualEncoder):
    """A model that looks at one picture at a time, so that a batch changes no bit.

    Matrix products of different batch sizes take different kernels, which round differently
    (about 1e-7); the sign of a gradient near zero makes a whole step of that.
    """

    def __init__(self, model: DualEncoder) -> None:
        self.__dict__.update(model.__dict__)

    def encode_image(self, pixels: Tensor, fast: bool = False) -> Tensor:
        return torch.cat([super(OneByOne, self).encode_image(p[None], fast) for p in pixels])


@pytest.mark.parametrize(("norm", "goal", "targeted"), CASES)
@pytest.mark.parametrize("name", IMAGE_ATTACKS)
def test_a_batch_equals_its_halves(name: str, norm: str, goal: str, targeted: bool,
                                   tiny: DualEncoder, four: Pairs) -> None:
    model, attack = OneByOne(tiny), build(name, norm)
    whole = run(attack, model, four, goal, TARGETS if targeted else None, seed=5)
    halves = [run(attack, model, Pairs(four.images[part], CAPTIONS, four.labels[part]), goal,
                  TARGETS[part] if targeted else None, seed=5)
              for part in (slice(0, 2), slice(2, 4))]
    assert torch.equal(whole.adversarial_images, torch.cat([h.adversarial_images for h in halves]))
    assert torch.equal(whole.success, torch.cat([h.success for h in halves]))


@pytest.mark.parametrize("goal", ["classification", "similarity", "embedding"])
@pytest.mark.parametrize("norm", BUDGETS)
def test_fgsm_is_one_full_step_of_pgd(norm: str, goal: str, tiny: DualEncoder,
                                      four: Pairs) -> None:
    eps = BUDGETS[norm]
    one = run(FGSM(eps, norm), tiny, four, goal)
    same = run(PGD(eps, norm, step=eps, steps=1, random_start=False), tiny, four, goal)
    assert torch.equal(one.adversarial_images, same.adversarial_images)
    assert bool(one.changed.all())


@pytest.mark.parametrize("norm", BUDGETS)
@pytest.mark.parametrize("name", [n for n in IMAGE_ATTACKS if n not in CURVED])
def test_closed_form_on_a_linear_model(name: str, norm: str, linear: Linear) -> None:
    """The best point of a linear score w.x is x + eps sign(w), or x + eps w / |w|."""
    clean = grid_images(3, 4, low=100, high=150)
    labels, text = torch.tensor([0, 1, 2]), linear.encode_text(["a", "b", "c"])
    aim = make_goal("similarity", linear.encode_image(clean), text, labels, 10.0)
    eps = {"linf": 8 / 255, "l2": 0.2}[norm]
    attack = build(name, norm, eps, steps=40)
    best = finish(attack.iterate(lambda x: aim.score(linear.encode_image(x), text), clean,
                                 PerImage(0, clean)))
    slope = -linear.weight[labels].view(3, 3, 4, 4)
    unit = slope.sign() if norm == "linf" else slope / slope.flatten(1).norm(dim=1)[:, None, None,
                                                                                   None]
    if norm == "l2" and name in RANDOM:  # comes close along a curve
        gain = ((best - clean) * slope).flatten(1).sum(1)
        assert bool((gain >= 0.999 * eps * slope.flatten(1).norm(dim=1)).all())
    else:
        torch.testing.assert_close(best, clean + eps * unit, atol=5e-6, rtol=0)


# --- the run around an attack ---------------------------------------------------------------


def test_closing_the_stream_stops_within_a_step(tiny: DualEncoder, four: Pairs,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    original = tiny.encode_image

    def counting(pixels: Tensor, fast: bool = False) -> Tensor:
        if fast:
            calls.append(len(pixels))
        return original(pixels, fast)

    monkeypatch.setattr(tiny, "encode_image", counting)
    events: Any = stream(PGD(steps=1000), tiny, four)
    for _ in range(3):
        assert isinstance(next(events), Step)
    events.close()
    assert len(calls) == 3
    with pytest.raises(StopIteration):
        next(events)


@pytest.mark.parametrize(("name", "queries"), [("noise", 0), ("fgsm", 1), ("mi-fgsm", 4),
                                               ("pgd", 5), ("apgd", 5), ("apgd-dlr", 5),
                                               ("eot", 20), ("transfer", 12)])
def test_queries_are_counted(name: str, queries: int, tiny: DualEncoder, four: Pairs) -> None:
    assert run(build(name, "linf"), tiny, four).queries == queries


@pytest.mark.parametrize("name", IMAGE_ATTACKS)
def test_the_recorded_trajectory(name: str, tiny: DualEncoder, four: Pairs) -> None:
    attack = build(name, "linf")
    result = run(attack, tiny, four, record=True)
    assert result.frames is not None and result.trail is not None
    assert len(result.frames) == len(result.trail.cosines)
    assert len(result.frames) == attack.total + 1 or name in STOPS
    assert torch.equal(result.frames[0], result.images[0])
    assert torch.equal(result.frames[-1], result.adversarial_images[0])
    assert torch.equal(reopened(result.frames), result.frames)
    assert bool((attack.ball.distance(result.frames, result.images[:1]) <= attack.eps + 1e-6).all())
    with torch.no_grad():
        features = tiny.encode_image(result.frames)
    torch.testing.assert_close(result.trail.features, features)
    torch.testing.assert_close(result.trail.cosines, features @ result.text_features.T)
    torch.testing.assert_close(result.trail.cosines[-1], result.adversarial.cosines[0])


def test_a_long_trajectory_is_thinned(tiny: DualEncoder, four: Pairs) -> None:
    one = Pairs(four.images[:1], CAPTIONS, four.labels[:1])
    result = run(PGD(4 / 255, steps=150), tiny, one, record=True)
    assert result.frames is not None and result.trail is not None
    assert len(result.frames) == len(result.trail.prediction) == 39
    assert result.frame_steps[:3] == (0, 4, 8) and result.frame_steps[-1] == 150
    assert torch.equal(result.frames[-1], result.adversarial_images[0])


@pytest.mark.parametrize("name", IMAGE_ATTACKS)
def test_less_than_a_grey_level_changes_nothing_and_says_so(name: str, tiny: DualEncoder,
                                                            four: Pairs) -> None:
    result = run(build(name, "linf", 0.9 / 255), tiny, four)
    assert not bool(result.changed.any())
    assert torch.equal(result.adversarial_images, four.images)
    assert torch.equal(result.clean.cosines, result.adversarial.cosines)


def test_success_is_that_of_the_saved_picture(tiny: DualEncoder, four: Pairs) -> None:
    result = run(build("pgd", "linf", 8 / 255), tiny, four)
    with torch.no_grad():
        near = tiny.encode_image(reopened(result.adversarial_images)) @ result.text_features.T
    assert torch.equal(result.success, near.argmax(1) != four.labels)
    assert torch.equal(result.correct_after, ~result.success)
    torch.testing.assert_close(result.adversarial.cosines, near)
    torch.testing.assert_close(result.adversarial.probabilities,
                               torch.softmax(near * tiny.scale, 1))


@pytest.mark.parametrize("name", IMAGE_ATTACKS)
def test_on_the_embedded_model(name: str, pocket: DualEncoder, cat: Pairs) -> None:
    """The real tower, with the low precision its device steps in."""
    attack = build(name, "linf", 8 / 255, steps=3)
    result = run(attack, pocket, cat, seed=1)
    check(result, attack.ball)
    start, end = (scores(pocket, cat, p, "classification", None)
                  for p in (cat.images, result.adversarial_images))
    if name != "noise":
        noise = run(Noise(attack.eps), pocket, cat, seed=1)
        assert bool((result.success | (end >= start)).all())
        assert bool((end >= scores(pocket, cat, noise.adversarial_images, "classification",
                                   None)).all())
    assert all(p.grad is None and not p.requires_grad for p in pocket.clip.parameters())


# --- callers' mistakes ----------------------------------------------------------------------


@pytest.mark.parametrize(("make", "say"), [
    (lambda: PGD(eps=-1 / 255), "eps"), (lambda: PGD(eps=float("nan")), "eps"),
    (lambda: PGD(eps=float("inf")), "eps"), (lambda: PGD(eps=1.5), "255/255"),
    (lambda: PGD(norm="l3"), "linf, l2"), (lambda: PGD(steps=0), "1 to 1000"),
    (lambda: PGD(steps=10**9), "1 to 1000"), (lambda: PGD(steps=2.5), "1 to 1000"),  # type: ignore[arg-type]
    (lambda: PGD(step=0.0), "step size"), (lambda: PGD(step=float("nan")), "step size"),
    (lambda: PGD(restarts=0), "restarts must be a whole number from 1 to 10"),
    (lambda: Square(queries=10**6), "queries"), (lambda: Transfer(blur=4), "odd side"),
    (lambda: Transfer(diversity=1.5), "diversity"), (lambda: EOT(samples=0), "samples"),
    (lambda: EOT(strength=float("nan")), "strength"), (lambda: Strong(targets=0), "targets"),
    (lambda: Square(first=0.0), "first share"),
    (lambda: MIFGSM(momentum=-1.0), "momentum"), (lambda: MIFGSM(momentum=float("nan")), "moment"),
])
def test_wrong_settings_are_refused(make: Callable[[], ImageAttack], say: str) -> None:
    with pytest.raises(InputError, match=say):
        make()


def test_wrong_questions_are_refused(tiny: DualEncoder, four: Pairs) -> None:
    lone = Pairs(four.images[:1], ("a cat",), torch.tensor([0]))
    for pairs, goal, targets, say in [
        (four, "colour", None, "goal must be"), (lone, "classification", None, "one caption"),
        (four, "similarity", torch.tensor([0, 0, 0, 0]), "true caption already"),
        (four, "similarity", torch.tensor([1, 2, 3, 9]), "one of the captions"),
        (four, "similarity", torch.tensor([1]), "one for each image"),
    ]:
        with pytest.raises(InputError, match=say):
            run(FGSM(), tiny, pairs, goal, targets)
    with pytest.raises(InputError, match="seed"):
        run(PGD(), tiny, four, seed=2**40)
    check_targets(TARGETS, four)
    assert bool(run(FGSM(8 / 255), tiny, lone, "similarity").changed.all())


def test_the_registry_names_its_attacks(tiny: DualEncoder, four: Pairs) -> None:
    for name, kind in IMAGE_ATTACKS.items():
        assert name_of(kind()) == name
        assert kind.title and kind.source and kind.__doc__
        result = drain(stream(build(name, "linf"), tiny, four))
        assert result.attack == name
        rebuilt = IMAGE_ATTACKS[result.attack](**result.settings)
        assert rebuilt == build(name, "linf")
