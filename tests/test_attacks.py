"""The test every image attack must pass, over the whole registry, and each attack's own formula."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from helpers import CAPTIONS, Linear, grid_images
from PIL import Image
from torch import Tensor

from explorer.attacks.image import (
    APGD,
    FGSM,
    IMAGE_ATTACKS,
    MIFGSM,
    PGD,
    ImageAttack,
    Noise,
    apgd_checkpoints,
    gradient,
)
from explorer.attacks.run import Step, check_targets, drain, name_of, run, stream
from explorer.budgets import Ball
from explorer.errors import InputError
from explorer.goals import make_goal
from explorer.models import DualEncoder
from explorer.pairs import Pairs, to_image
from explorer.randomness import PerImage
from explorer.result import Result

BUDGETS = {"linf": 4 / 255, "l2": 1.0}
TARGETS = torch.tensor([1, 2, 3, 0])
CASES = [  # norm, goal, targeted: a lean cover
    ("linf", "classification", False), ("l2", "classification", True),
    ("linf", "similarity", True), ("l2", "similarity", False),
    ("linf", "embedding", False), ("l2", "embedding", False),
]
RANDOM = ("pgd", "apgd", "noise")


def build(name: str, norm: str, eps: float | None = None, **fields: Any) -> ImageAttack:
    """An attack of the registry with few steps, of a quarter of the budget each."""
    kind = IMAGE_ATTACKS[name]
    size = BUDGETS[norm] if eps is None else eps
    known = {f.name for f in dataclasses.fields(kind)}
    few = {"steps": 4, "step": max(size, 1 / 255) / 4, **fields}
    return kind(eps=size, norm=norm, **{k: v for k, v in few.items() if k in known})


def scores(model: DualEncoder, pairs: Pairs, images: Tensor, goal: str,
           targets: Tensor | None) -> Tensor:
    """(N,) score of pictures, computed apart from `run`."""
    with torch.no_grad():
        clean, text = model.encode_image(pairs.images), model.encode_text(pairs.captions)
        aim = make_goal(goal, clean, text, pairs.labels, model.scale, targets)
        return aim.score(model.encode_image(images), text)


def reopened(images: Tensor) -> Tensor:
    """Pictures saved as PNG and read back."""
    back = []
    for picture in images:
        file = io.BytesIO()
        to_image(picture).save(file, "PNG")
        back.append(torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1).float() / 255)
    return torch.stack(back)


def check(result: Result, ball: Ball) -> None:
    """What holds for every result: shape, box, grid, budget, and readings of what is saved."""
    clean, moved = result.images, result.adversarial_images
    assert moved.shape == clean.shape and moved.dtype == clean.dtype
    saved = reopened(moved)
    assert torch.equal(saved, moved), "not on the 8-bit grid, or outside [0, 1]"
    assert bool((ball.distance(saved.double(), clean.double()) <= ball.eps + 1e-6).all())
    linf = (saved - clean).abs().flatten(1).amax(1) * 255
    assert torch.equal(result.linf_255, linf.round())
    torch.testing.assert_close(result.l2, (saved - clean).flatten(1).norm(dim=1))


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
    assert steps == [Step(k, attack.total) for k in range(1, attack.total + 1)]
    assert flags == [(p.requires_grad, p.grad) for p in tiny.clip.parameters()]
    assert not any(needs for needs, _ in flags) and all(g is None for _, g in flags)
    assert modes == [m.training for m in tiny.clip.modules()] and not any(modes)
    assert torch.equal(four.images, before), "the input was written to"

    after = scores(tiny, four, result.adversarial_images, goal, targets)
    if name != "noise":
        noise = run(Noise(attack.eps, norm), tiny, four, goal, targets, seed=3)
        assert bool((after >= scores(tiny, four, four.images, goal, targets)).all())
        assert bool((after >= scores(tiny, four, noise.adversarial_images, goal, targets)).all())

    again = run(attack, tiny, four, goal, targets, seed=3)
    assert torch.equal(again.adversarial_images, result.adversarial_images)
    if name in RANDOM:
        other = run(attack, tiny, four, goal, targets, seed=4)
        assert not torch.equal(other.adversarial_images, result.adversarial_images)

    nothing = run(build(name, norm, 0.0), tiny, four, goal, targets, seed=3)
    assert torch.equal(nothing.adversarial_images, four.images)
    assert not bool(nothing.changed.any()) and not bool(nothing.linf_255.any())


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
@pytest.mark.parametrize("name", [n for n in IMAGE_ATTACKS if n != "noise"])
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


def finish(steps: Any) -> Tensor:
    """What an attack returns in the end."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            picture: Tensor = stop.value
            return picture


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
                                               ("pgd", 5), ("apgd", 5)])
def test_queries_are_counted(name: str, queries: int, tiny: DualEncoder, four: Pairs) -> None:
    assert run(build(name, "linf"), tiny, four).queries == queries


@pytest.mark.parametrize("name", IMAGE_ATTACKS)
def test_the_recorded_trajectory(name: str, tiny: DualEncoder, four: Pairs) -> None:
    attack = build(name, "linf")
    result = run(attack, tiny, four, record=True)
    assert result.frames is not None and result.trail is not None
    assert len(result.frames) == attack.total + 1 == len(result.trail.cosines)
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
        assert bool((end >= start).all())
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


# --- each attack's own formula, by hand -----------------------------------------------------


def parabola(x: Tensor) -> Tensor:
    """(N,) a curved score whose gradient is (2 x - 1) w: it points away from 1/2."""
    weight = torch.linspace(0.5, 2, x[0].numel()).view(x.shape[1:])
    return (weight * (x - 0.5) ** 2).flatten(1).sum(1)


def parabola_slope(x: Tensor) -> Tensor:
    weight = torch.linspace(0.5, 2, x[0].numel()).view(x.shape[1:])
    return 2 * weight * (x - 0.5)


def steps_of(attack: ImageAttack, loss: Callable[[Tensor], Tensor], x: Tensor) -> list[Tensor]:
    return list(attack.iterate(loss, x, PerImage(0, x)))


def test_the_gradient_is_of_the_input_only(linear: Linear) -> None:
    x = grid_images(2, 4)
    value, slope = gradient(parabola, x)
    torch.testing.assert_close(value, parabola(x))
    torch.testing.assert_close(slope, parabola_slope(x))
    assert x.grad is None and not x.requires_grad and not value.requires_grad


def test_pgd_two_steps_by_hand() -> None:
    x = grid_images(2, 4, low=60, high=200)
    eps, step = 3 / 255, 2 / 255
    first, second = steps_of(PGD(eps, "linf", step, 2, False), parabola, x)
    torch.testing.assert_close(first, x + step * parabola_slope(x).sign())
    torch.testing.assert_close(second, x + eps * parabola_slope(x).sign())  # cut at eps

    first, second = steps_of(PGD(0.3, "l2", 0.2, 2, False), parabola, x)
    slope = parabola_slope(x)
    by_hand = x + 0.2 * slope / slope.flatten(1).norm(dim=1).view(2, 1, 1, 1)
    torch.testing.assert_close(first, by_hand)
    slope = parabola_slope(by_hand)
    moved = by_hand + 0.2 * slope / slope.flatten(1).norm(dim=1).view(2, 1, 1, 1) - x
    size = moved.flatten(1).norm(dim=1).view(2, 1, 1, 1)
    assert bool((size > 0.3).all()), "the case must reach the projection"
    torch.testing.assert_close(second, x + moved * 0.3 / size)


def test_pgd_returns_its_best_step() -> None:
    """On a narrow hill the last of too large steps is worse than an earlier one."""
    x = torch.full((1, 3, 4, 4), 100 / 255)
    attack = PGD(10 / 255, "linf", 4 / 255, 4, False)

    def hill(p: Tensor) -> Tensor:
        return -((p - 107 / 255) ** 2).flatten(1).sum(1)

    path = steps_of(attack, hill, x)  # 104, 108, 104, 108
    values = [float(hill(p)) for p in [x, *path]]
    assert float(hill(finish(attack.iterate(hill, x, PerImage(0, x))))) == max(values)
    odd = dataclasses.replace(attack, steps=3)
    torch.testing.assert_close(finish(odd.iterate(hill, x, PerImage(0, x))), x + 8 / 255)


def test_mi_fgsm_two_steps_of_momentum_by_hand() -> None:
    """g1 = d1 / |d1|; x1 = x + eps/2 sign g1; g2 = mu g1 + d2 / |d2|; x2 = x1 + eps/2 sign g2,
    on two pixels where the gradient turns round and only the momentum decides."""
    x = torch.full((1, 1, 1, 2), 0.5)
    slopes = [torch.tensor([[[[3.0, 1.0]]]]), torch.tensor([[[[-1.0, -1.5]]]])]
    seen: list[Tensor] = []

    def loss(p: Tensor) -> Tensor:
        seen.append(p.detach())
        return (p * slopes[(len(seen) - 1) % 2]).flatten(1).sum(1)

    eps = 0.1
    g1 = torch.tensor([[[[3.0, 1.0]]]]) / 2  # mean absolute value 2
    g2 = torch.tensor([[[[-1.0, -1.5]]]]) / 1.25
    for mu in (0.0, 0.9):
        first, second = steps_of(MIFGSM(eps, "linf", 2, mu), loss, x)
        torch.testing.assert_close(first, x + eps / 2 * g1.sign())
        torch.testing.assert_close(second, first + eps / 2 * (mu * g1 + g2).sign())
    kept = (0.9 * g1 + g2).sign().flatten().tolist()
    assert kept == [1.0, -1.0], "with momentum the first pixel goes on, the second turns"


def test_apgd_checkpoints_are_the_papers() -> None:
    """w_j = ceil(p_j N): p = 0.22, 0.41, 0.57, 0.70, 0.80, 0.87, 0.93, 0.99."""
    assert apgd_checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert apgd_checkpoints(10) == [3, 5, 6, 7, 8, 9, 10]
    assert apgd_checkpoints(1000)[:3] == [220, 410, 570]


def test_apgd_halves_its_step_on_a_plateau() -> None:
    """A score that never grows: after each checkpoint the next step is half as long, and it
    starts from the best point, the random start."""
    x = torch.full((1, 3, 4, 4), 128 / 255)
    eps, attack = 8 / 255, APGD(8 / 255, "l2", steps=20)
    calls: list[Tensor] = []

    def falling(p: Tensor) -> Tensor:
        calls.append(p.detach())
        return 1e-9 * p.flatten(1).sum(1) - float(len(calls))

    steps_of(attack, falling, x)
    start, checks = calls[0], apgd_checkpoints(20)
    assert checks[:3] == [5, 9, 12]
    ball, up = Ball("l2", eps), torch.full_like(x, 48**-0.5)
    size = 2 * eps
    for number, k in enumerate(checks[:-1]):
        size = size / 2
        ahead = ball.project(start + size * up, x)
        torch.testing.assert_close(calls[k + 1], start + 0.75 * (ahead - start),
                                   msg=f"after checkpoint {number + 1}")


def test_noise_has_full_size(four: Pairs) -> None:
    """Away from the box every value moves by eps; in L2 the whole change is eps long."""
    x = grid_images(2, 16, low=50, high=200)
    (linf,) = steps_of(Noise(4 / 255), parabola, x)
    torch.testing.assert_close((linf - x).abs(), torch.full_like(x, 4 / 255))
    share = float((linf > x).float().mean())
    assert 0.4 < share < 0.6
    (l2,) = steps_of(Noise(0.5, "l2"), parabola, x)
    torch.testing.assert_close((l2 - x).flatten(1).norm(dim=1), torch.tensor([0.5, 0.5]))


def test_random_numbers_follow_the_picture(four: Pairs) -> None:
    whole, part = PerImage(9, four.images), PerImage(9, four.images[2:3])
    assert torch.equal(whole.uniform()[2:3], part.uniform())
    assert torch.equal(whole.normal()[2:3], part.normal())
    assert torch.equal(whole.scalar()[2:3], part.scalar())
    assert not torch.equal(PerImage(8, four.images).uniform(), PerImage(9, four.images).uniform())
    rows = PerImage(9, four.images).uniform()
    assert not torch.equal(rows[0], rows[1])
