"""The test every defence must pass, over the whole registry, and cases worked out by hand."""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from attack_helpers import build
from helpers import CAPTIONS, grid_images
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from explorer.analysis.metrics import right
from explorer.attacks.defences.base import Defence, Eye, Passes, Transform
from explorer.attacks.defences.counter import TTC, shift, uniform_noise
from explorer.attacks.defences.guard import guarded, run_against, stream_against, try_defence
from explorer.attacks.defences.jpeg import JPEG, dct_matrix, imitated, soft_round, tables
from explorer.attacks.defences.model import Defended, Known, facing
from explorer.attacks.defences.pixels import BitDepth, Blur, Median, RandomPad, Resize
from explorer.attacks.defences.registry import (
    DEFENCES,
    defence_of,
    label_of,
    name_of,
    parse_defence,
    settings_of,
)
from explorer.attacks.defences.views import AGC, Ensemble, ReliableViews, cropped, tilted
from explorer.attacks.defences.vote import NoiseVote, clopper_pearson, radius_of, undecided
from explorer.attacks.engine import Step
from explorer.attacks.image.classic import PGD
from explorer.attacks.joint import Separate
from explorer.attacks.result import Result
from explorer.attacks.run import run
from explorer.attacks.text.classic import TEXT_ATTACKS
from explorer.base.errors import InputError
from explorer.base.randomness import PerImage
from explorer.data.pairs import Pairs, to_image
from explorer.models.encoder import DualEncoder

FEW = {"noise-vote": {"votes": 12}, "reliable-views": {"views": 6}, "agc": {"views": 4}}
PIXELS = [name for name, kind in DEFENCES.items() if issubclass(kind, Transform)]
RANDOM = [name for name, kind in DEFENCES.items() if kind.random]


def small(name: str) -> Defence:
    return DEFENCES[name](**FEW.get(name, {}))


def flat_look(x: Tensor) -> Tensor:
    """(N, 3, H, W) -> (N, 6) unit features that depend on every pixel, smoothly."""
    means = torch.cat([x.mean((2, 3)), x[..., : max(1, x.shape[-1] // 2)].mean((2, 3))], 1)
    return F.normalize(torch.sin(7 * means + torch.arange(6.0)) + 0.1, dim=1)


class OneByOne(DualEncoder):
    """As in test_attacks: a batch changes no bit."""

    def __init__(self, model: DualEncoder) -> None:
        self.__dict__.update(model.__dict__)

    def encode_image(self, pixels: Tensor, fast: bool = False) -> Tensor:
        return torch.cat([super(OneByOne, self).encode_image(p[None], fast) for p in pixels])


# --- every defence ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", DEFENCES)
def test_every_defence(name: str, tiny: DualEncoder, four: Pairs) -> None:
    model, defence = OneByOne(tiny), small(name)
    assert defence.title and defence.source and type(defence).__doc__
    defended = Defended(model, defence, 3).facing(CAPTIONS)
    before = four.images.clone()
    with torch.no_grad():
        whole = defended.encode_image(four.images)
        halves = [defended.encode_image(four.images[part]) for part in (slice(0, 2), slice(2, 4))]
        again = defended.encode_image(four.images)
        other = Defended(model, defence, 4).facing(CAPTIONS).encode_image(four.images)
    assert torch.equal(four.images, before), "the input was written to"
    assert whole.shape == (4, tiny.dim) and bool(whole.isfinite().all())
    torch.testing.assert_close(whole.norm(dim=1), torch.ones(4))
    assert torch.equal(whole, again) and torch.equal(whole, torch.cat(halves))
    assert torch.equal(whole, other) != (name in RANDOM)
    assert all(p.grad is None and not p.requires_grad for p in tiny.clip.parameters())
    assert len(Defended(tiny, defence).encode_image(four.images[:0])) == 0


@pytest.mark.parametrize("name", DEFENCES)
def test_an_attacker_who_knows_gets_a_slope(name: str, tiny: DualEncoder, four: Pairs) -> None:
    known = Defended(tiny, small(name), 3).facing(CAPTIONS).known()
    x = four.images.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(known.encode_image(x)[:, 0].sum(), x)
    assert bool(slope.isfinite().all()) and bool((slope.flatten(1).abs().sum(1) > 0).all())


@pytest.mark.parametrize("name", DEFENCES)
def test_passes_are_those_that_are_made(name: str, four: Pairs) -> None:
    counted = [0]

    def look(x: Tensor) -> Tensor:
        counted[0] += len(x)
        return flat_look(x)

    defence = small(name)
    with torch.no_grad():
        defence.read(Eye(look, torch.eye(6)[:4]), four.images[:1], PerImage(0, four.images[:1]))
    assert counted[0] == defence.passes.forward
    assert str(Passes(4, 2)) == "4 forward, 2 backward" and str(Passes()) == "1 forward"


@pytest.mark.parametrize("size", [(1, 1), (20, 3000), (3000, 20), (7, 9)])
@pytest.mark.parametrize("name", DEFENCES)
def test_pictures_of_odd_shapes(name: str, size: tuple[int, int]) -> None:
    x = torch.rand((1, 3, *size), generator=torch.Generator().manual_seed(1))
    defence = small(name)
    with torch.no_grad():
        found = defence.read(Eye(flat_look, torch.eye(6)[:4]), x, PerImage(0, x))
        assert found.shape == (1, 6) and bool(found.isfinite().all())
        if isinstance(defence, Transform):
            changed = defence.change(x, PerImage(0, x))
            assert changed.shape == x.shape and 0 <= float(changed.min()) <= float(
                changed.max()) <= 1


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(PIXELS), st.integers(0, 2**31 - 1), st.integers(1, 24), st.integers(1, 24),
       st.data())
def test_pixels_stay_pixels(name: str, seed: int, high: int, wide: int, data: Any) -> None:
    kind = DEFENCES[name]
    (field,) = dataclasses.fields(kind)
    low, top = field.metadata["low"], field.metadata["high"]
    drawn = st.integers(low, top) if isinstance(field.default, int) else st.floats(low, top)
    defence = kind(**{field.name: data.draw(drawn)})
    assert isinstance(defence, Transform)
    x = torch.rand((2, 3, high, wide), generator=torch.Generator().manual_seed(seed))
    found = defence.change(x, PerImage(seed, x))
    assert found.shape == x.shape and found.dtype == x.dtype
    assert float(found.min()) >= 0 and float(found.max()) <= 1
    assert torch.equal(found, defence.change(x, PerImage(seed, x)))
    halves = [defence.change(half, PerImage(seed, half)) for half in (x[:1], x[1:])]
    torch.testing.assert_close(found, torch.cat(halves), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", DEFENCES)
def test_names_and_settings_come_back(name: str) -> None:
    for kind in (DEFENCES[name](), small(name)):
        assert name_of(kind) == name
        told = settings_of(kind)
        assert defence_of(told.pop("name"), told) == kind
        assert parse_defence(label_of(kind)) == kind
    assert label_of(DEFENCES[name]()) == name and label_of(None) == ""


@pytest.mark.parametrize(("make", "say"), [
    (lambda: JPEG(0), "quality must be a whole number from 1 to 100, not 0"),
    (lambda: JPEG(101), "from 1 to 100, not 101"), (lambda: JPEG(75.5), "whole"),  # type: ignore[arg-type]
    (lambda: NoiseVote(votes=1), "votes must be a whole number from 2"),
    (lambda: NoiseVote(sigma=float("nan")), "σ"), (lambda: BitDepth(9), "1 to 8"),
    (lambda: Blur(float("inf")), "a number from 0.1"), (lambda: Median(True), "reach"),
    (lambda: TTC(eps=1.0), "ε"), (lambda: Resize("half"), "size"),  # type: ignore[arg-type]
    (lambda: parse_defence("jpg"), "known are jpeg, bit-depth"),
    (lambda: parse_defence("jpeg:quality"), "jpeg:quality=50"),
    (lambda: parse_defence("jpeg:size=3"), "no setting 'size'; it has quality"),
    (lambda: parse_defence("jpeg:quality=high"), "must be a number, not 'high'"),
    (lambda: parse_defence("jpeg:quality=3:quality=4"), "each once"),
    (lambda: parse_defence(""), "no defence ''"),
])
def test_what_is_wrong_is_said_in_a_sentence(make: Callable[[], Defence], say: str) -> None:
    with pytest.raises(InputError, match=say):
        make()


def test_settings_in_words() -> None:
    assert parse_defence("ttc:eps=2/255:steps=3") == TTC(eps=2 / 255, steps=3)
    assert label_of(JPEG(50)) == "jpeg:quality=50"


# --- pixels, by hand --------------------------------------------------------------------------


def one(values: list[list[float]]) -> Tensor:
    """(1, 3, H, W) the same in all colours."""
    return torch.tensor(values)[None, None].expand(1, 3, -1, -1).contiguous()


def changed(defence: Transform, x: Tensor) -> Tensor:
    return defence.change(x, PerImage(0, x))


def test_bit_depth_rounds_to_the_nearest_level() -> None:
    x = one([[0.0, 0.1, 0.4, 0.6, 1.0]])
    assert changed(BitDepth(1), x)[0, 0, 0].tolist() == [0, 0, 0, 1, 1]
    torch.testing.assert_close(changed(BitDepth(2), x)[0, 0, 0],
                               torch.tensor([0, 0, 1 / 3, 2 / 3, 1]))
    assert torch.equal(changed(BitDepth(8), grid_images(1, 8)), grid_images(1, 8))


def test_blur_is_a_gaussian() -> None:
    x = torch.zeros(1, 3, 9, 9)
    x[..., 4, 4] = 1
    found = changed(Blur(1.0), x)[0, 1]
    line = np.exp(-np.arange(-3, 4) ** 2 / 2)
    line /= line.sum()
    np.testing.assert_allclose(found[1:8, 1:8], np.outer(line, line), atol=1e-6)
    flat = torch.full((1, 3, 5, 6), 0.3)
    torch.testing.assert_close(changed(Blur(3.0), flat), flat)


def test_median_of_nine() -> None:
    x = one([[0.1, 0.2, 0.3], [0.9, 1.0, 0.8], [0.4, 0.5, 0.6]])
    assert float(changed(Median(1), x)[0, 0, 1, 1]) == pytest.approx(0.5)
    # the corner's square holds its own value four times, its two neighbours twice, and 1.0
    assert float(changed(Median(1), x)[0, 0, 0, 0]) == pytest.approx(0.2)


def test_resizing_keeps_what_is_flat_and_loses_what_is_fine() -> None:
    flat = torch.full((1, 3, 8, 8), 0.25)
    torch.testing.assert_close(changed(Resize(0.5), flat), flat)
    board = one([[float((i + j) % 2) for j in range(16)] for i in range(16)])
    assert float((changed(Resize(0.5), board) - 0.5)[..., 4:12, 4:12].abs().max()) < 0.1
    assert torch.equal(changed(Resize(1.0), grid_images(1, 8)), grid_images(1, 8))


def test_random_padding_puts_the_picture_on_black() -> None:
    white = torch.ones(1, 3, 20, 20)
    found = changed(RandomPad(0.5), white)
    share = float(found[0, 0].mean())
    assert 0.25 - 0.06 < share < 1 and float(found.max()) <= 1 and float(found.min()) == 0
    torch.testing.assert_close(changed(RandomPad(1.0), grid_images(1, 8)), grid_images(1, 8),
                               atol=1e-5, rtol=0)


@pytest.mark.parametrize("quality", [1, 10, 75, 100])
def test_jpeg_is_a_file_saved_and_opened(quality: int) -> None:
    x = grid_images(1, 24, seed=5)
    file = io.BytesIO()
    to_image(x[0]).save(file, "JPEG", quality=quality)
    opened = np.array(Image.open(file)).transpose(2, 0, 1) / 255
    np.testing.assert_allclose(changed(JPEG(quality), x)[0], opened, atol=1e-6)


def smooth_picture(high: int = 30, wide: int = 37) -> Tensor:
    rows = torch.linspace(0, 3, high)[:, None]
    columns = torch.linspace(0, 4, wide)[None]
    planes = [0.5 + 0.4 * torch.sin(rows * a + columns * b) for a, b in ((1, 2), (2, 1), (1, 1))]
    return (torch.stack(planes)[None] * 255).round() / 255


@pytest.mark.parametrize("quality", [10, 50, 75, 95])
def test_the_imitation_is_close_to_a_file(quality: int) -> None:
    x = smooth_picture()
    real = changed(JPEG(quality), x)
    off = (imitated(x, quality, soft=False) - real).abs() * 255
    assert float(off.mean()) < 1.5
    assert float(off.mean()) < float((x - real).abs().mean() * 255) or quality == 95


def test_the_parts_of_the_imitation() -> None:
    turn = dct_matrix()
    torch.testing.assert_close(turn @ turn.T, torch.eye(8), atol=1e-6, rtol=0)
    assert float((turn @ torch.ones(8))[0]) == pytest.approx(math.sqrt(8))
    assert tables(50)[0, 0, :4].tolist() == [16, 11, 10, 16]  # Annex K of the standard
    x = torch.tensor([0.2, 0.5, 1.9], requires_grad=True)
    soft = soft_round(x)
    torch.testing.assert_close(soft, torch.tensor([0.008, 0.125, 1.999]), atol=1e-6, rtol=0)
    soft.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, torch.tensor([0.12, 0.75, 0.03]), atol=1e-5, rtol=0)


def test_jpeg_goes_forward_as_a_file_and_back_as_the_imitation() -> None:
    x = smooth_picture(16, 16)
    weight = torch.rand(x.shape, generator=torch.Generator().manual_seed(0))
    moving, other = (x.clone().requires_grad_(True) for _ in range(2))
    forward = changed(JPEG(30), moving)
    torch.testing.assert_close(forward.detach(), changed(JPEG(30), x), atol=1e-6, rtol=0)
    (slope,) = torch.autograd.grad((forward * weight).sum(), moving)
    (same,) = torch.autograd.grad((imitated(other, 30) * weight).sum(), other)
    assert torch.equal(slope, same) and bool(slope.any())


def test_bit_depth_goes_back_as_the_identity() -> None:
    x = grid_images(1, 8).requires_grad_(True)
    read = BitDepth(2).read(Eye(lambda p: p.flatten(1)), x, PerImage(0, x))
    torch.testing.assert_close(read.detach(), changed(BitDepth(2), x.detach()).flatten(1))
    (slope,) = torch.autograd.grad((read * torch.arange(192.0)).sum(), x)
    assert torch.equal(slope.flatten(), torch.arange(192.0))


# --- views, by hand ---------------------------------------------------------------------------


def test_crops_and_mirrors() -> None:
    x = grid_images(1, 8, seed=2)
    ones = torch.ones(1)
    half = cropped(x, 0 * ones, 0.5 * ones, 0.5 * ones, 0.5 * ones)
    window = F.interpolate(x[..., :4, 4:], (8, 8), mode="bilinear", align_corners=False)
    torch.testing.assert_close(half[..., 1:-1, 1:-1], window[..., 1:-1, 1:-1], atol=1e-5, rtol=0)
    mirrored = cropped(x, 0 * ones, 0 * ones, ones, ones, torch.tensor([True]))
    torch.testing.assert_close(mirrored, x.flip(-1), atol=1e-5, rtol=0)


def test_perspective_leaves_the_picture_and_mirrors_it() -> None:
    x = grid_images(2, 12, seed=2)
    corners = torch.tensor([[-1.0, -1], [1, -1], [1, 1], [-1, 1]]).expand(2, 4, 2)
    torch.testing.assert_close(tilted(x, corners), x, atol=1e-4, rtol=0)
    torch.testing.assert_close(tilted(x, corners * torch.tensor([-1.0, 1])), x.flip(-1), atol=1e-4,
                               rtol=0)
    half = tilted(torch.ones_like(x), corners * 0.5)
    assert half[:, :, 4:8, 4:8].min() == pytest.approx(1, abs=1e-4)
    assert float(half[:, :, :2].max()) == 0


def test_the_ensemble_is_the_mean_of_twelve() -> None:
    x = torch.full((1, 3, 8, 8), 0.4)  # all its views are alike
    torch.testing.assert_close(Ensemble().read(Eye(flat_look), x, PerImage(0, x)), flat_look(x))
    both = grid_images(1, 8, seed=1)
    read = Ensemble(share=1.0).read(Eye(flat_look), both, PerImage(0, both))
    mean = flat_look(torch.cat([both, both.flip(-1)])).mean(0, keepdim=True)
    torch.testing.assert_close(read, F.normalize(mean, dim=1), atol=1e-4, rtol=0)


def test_views_that_agree_count_more() -> None:
    angles = torch.tensor([0.0, 0.01, 0.02, 0.03, 1.5, 3.0])
    features = torch.stack([angles.cos(), angles.sin()], 1)[None]
    weights = ReliableViews(views=6).weights(features)[0]
    assert float(weights.sum()) == pytest.approx(1) and float(weights[4:].max()) < 1e-6
    near = features[0] @ features[0].T  # by hand: the mean of the two nearest others
    close = [sorted(float(near[a, b]) for b in range(6) if b != a)[-2:] for a in range(6)]
    by_hand = torch.softmax(torch.tensor([sum(c) / 2 for c in close]) / 0.01, 0)
    torch.testing.assert_close(weights, by_hand, atol=1e-4, rtol=1e-4)


def test_the_geodesic_turns_as_far_as_it_says() -> None:
    base, anchor = torch.tensor([[1.0, 0, 0]]), torch.tensor([[0.0, 1, 0]])
    for turn, wanted in [(0.0, [1, 0, 0]), (1.0, [0, 1, 0]), (2.0, [-1, 0, 0]),
                         (0.5, [math.sqrt(0.5), math.sqrt(0.5), 0])]:
        found = AGC.push(base, anchor, torch.tensor([turn]))
        torch.testing.assert_close(found, torch.tensor([wanted], dtype=torch.float), atol=1e-5,
                                   rtol=0)
    same = AGC.push(base, base, torch.tensor([2.0]))
    torch.testing.assert_close(same, base, atol=0.01, rtol=0)


def test_how_far_the_geodesic_turns() -> None:
    """The formula of the authors' code, written out with loops."""
    generator = torch.Generator().manual_seed(4)
    base = F.normalize(torch.randn(3, 5, generator=generator), dim=1)
    views = F.normalize(torch.randn(3, 4, 5, generator=generator) + 2 * base[:, None], dim=2)
    found = AGC(views=4).turn(base, views)
    for n in range(3):
        attack = min(max(sum(1 - float(v @ base[n]) for v in views[n]) / 4, 0), 1)
        pairs = [float(views[n, a] @ views[n, b]) for a in range(4) for b in range(4) if a != b]
        trust = (sum(pairs) / 12 + 1) / 2
        assert float(found[n]) == pytest.approx(0.45 + 1.8 * attack**0.9 * trust, abs=1e-5)


# --- TTC, by hand -----------------------------------------------------------------------------


def linear_look(weight: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda x: 1 + x.flatten(1) @ weight


def test_the_counterattack_step_by_step() -> None:
    """On a linear model each step moves each pixel by the sign of its slope."""
    x = grid_images(1, 4, seed=3, low=60, high=190)
    weight = torch.randn(48, 2, generator=torch.Generator().manual_seed(1)) / 100
    look, eps = linear_look(weight), 4 / 255
    defence = TTC(threshold=2.0)
    found = defence.counter(look, x, PerImage(5, x))
    delta, moments = uniform_noise(x, eps, PerImage(5, x)), []
    moments.append(delta)
    for _ in range(2):
        slope = 2 * (delta.flatten(1) @ weight) @ weight.T
        delta = (delta + slope.view(delta.shape).sign() / 255).clamp(-eps, eps)
        moments.append(delta)
    parts = [math.exp(2 * k) for k in range(3)]
    by_hand = sum(p * m for p, m in zip(parts, moments, strict=True)) / sum(parts)
    torch.testing.assert_close(found, by_hand, atol=1e-6, rtol=0)
    noise_alone = TTC(threshold=0.0).counter(look, x, PerImage(5, x))
    torch.testing.assert_close(noise_alone, moments[0])


def test_shift_is_a_share_of_the_length() -> None:
    assert shift(torch.tensor([[3.0, 4.0]]), torch.tensor([[3.0, 5.0]])).tolist() == [
        pytest.approx(0.2)]


# --- votes, by hand ---------------------------------------------------------------------------


def test_clopper_pearson_against_closed_forms() -> None:
    for n in (1, 10, 100):
        assert clopper_pearson(n, n, 0.001) == pytest.approx(0.001 ** (1 / n))
        assert clopper_pearson(0, n, 0.05) == 0
    low = clopper_pearson(7, 10, 0.05)  # P(at least 7 of 10) is 5 % there
    tail = sum(math.comb(10, k) * low**k * (1 - low) ** (10 - k) for k in range(7, 11))
    assert tail == pytest.approx(0.05)


def test_the_certified_radius() -> None:
    from scipy.stats import norm

    assert radius_of(100, 100, 0.25, 0.001) == pytest.approx(0.25 * norm.ppf(0.001**0.01))
    assert radius_of(50, 100, 0.25, 0.001) is None and radius_of(0, 100, 0.25, 0.001) is None
    assert undecided(5, 5, 0.001) and undecided(0, 0, 0.5) and not undecided(40, 0, 0.001)
    assert undecided(10, 0, 0.001) and not undecided(11, 0, 0.001)  # 2 * 0.5^n against 0.001


def test_the_smoothed_linear_classifier_has_its_closed_form() -> None:
    """Two captions and a plane between them: votes fall as the normal distribution says."""
    from scipy.stats import norm

    x, sigma = torch.full((1, 3, 4, 4), 0.5), 0.5
    direction = torch.ones(48) / math.sqrt(48)
    margin = 0.3

    def look(p: Tensor) -> Tensor:
        side = (p - 0.5).flatten(1) @ direction + margin
        return F.normalize(torch.stack([side, -side], 1), dim=1)

    defence = NoiseVote(sigma, votes=1000)
    (ballot,) = defence.ballots(look, x, torch.eye(2))
    share = ballot.counts[0] / 1000
    assert share == pytest.approx(norm.cdf(margin / sigma), abs=0.05)
    assert ballot.answer == 0 and ballot.radius is not None and 0.1 < ballot.radius < margin
    near, far = x - 0.29 * direction.view(1, 3, 4, 4), x - 0.31 * direction.view(1, 3, 4, 4)
    assert [int(look(p).argmax()) for p in (near, far)] == [0, 1]


def test_the_feature_of_a_vote_gives_the_votes_answer(tiny: DualEncoder) -> None:
    images = grid_images(12, 32, seed=9)
    text = tiny.encode_text(CAPTIONS)
    defence = NoiseVote(0.5, votes=15)
    with torch.no_grad():
        said = (Defended(tiny, defence, 2, text).encode_image(images) @ text.T).argmax(1)
    for answer, ballot in zip(said, defence.ballots(tiny.encode_image, images, text, 2),
                              strict=True):
        assert sum(ballot.counts) == 15 and max(ballot.counts) == ballot.counts[int(answer)]
    few = NoiseVote(0.5, votes=2).ballots(tiny.encode_image, images[:1], text)[0]
    assert few.answer is None and few.radius is None and few.sentence().startswith("Abstains")


# --- attacks against a defended model ---------------------------------------------------------


def test_who_does_not_know_attacks_the_bare_model(tiny: DualEncoder, four: Pairs) -> None:
    attack, defended = build("pgd", "linf", 8 / 255), Defended(tiny, BitDepth(3), 1)
    blind = run_against(attack, defended, four, seed=3)
    bare = run(attack, tiny, four, seed=3)
    assert torch.equal(blind.adversarial_images, bare.adversarial_images)
    with torch.no_grad():
        seen = tiny.encode_image((bare.adversarial_images * 7).round() / 7)
    torch.testing.assert_close(blind.adversarial.features, seen)
    assert torch.equal(blind.success, blind.adversarial.prediction != four.labels)
    assert blind.defence == {"name": "bit-depth", "bits": 3} and not blind.aware
    assert bare.defence is None


@pytest.mark.parametrize("name", ["jpeg", "bit-depth", "blur"])
def test_who_knows_does_at_least_as_much_harm(name: str, pocket: DualEncoder, cat: Pairs) -> None:
    attack, defended = PGD(2 / 255), Defended(pocket, DEFENCES[name]())
    blind, aware = (run_against(attack, defended, cat, aware=knows) for knows in (False, True))
    label = int(cat.labels[0])
    assert float(aware.adversarial.probabilities[0, label]) <= float(
        blind.adversarial.probabilities[0, label]) + 1e-3
    assert bool(aware.success[0]) and aware.aware
    assert int(aware.linf_255[0]) <= 2


@pytest.mark.parametrize("goal", ["classification", "similarity", "embedding"])
def test_every_goal_and_the_trail(goal: str, tiny: DualEncoder, four: Pairs) -> None:
    events = list(stream_against(build("pgd", "linf"), Defended(tiny, Blur(1.0)), four, goal,
                                  record=True, aware=True))
    result = events[-1]
    assert isinstance(result, Result) and all(isinstance(e, Step) for e in events[:-1])
    assert result.frames is not None and result.trail is not None
    torch.testing.assert_close(result.trail.cosines[-1], result.adversarial.cosines[0])
    torch.testing.assert_close(result.trail.cosines[0], result.clean.cosines[0])


def test_attacks_on_words_too(tiny: DualEncoder, four: Pairs) -> None:
    joint = Separate(build("pgd", "linf"), TEXT_ATTACKS["typo"]())
    found = run_against(joint, Defended(tiny, JPEG()), four, aware=True)
    assert found.kind == "joint" and found.adversarial.cosines.shape == (4, 4)
    for attack in (joint, joint.text):
        with pytest.raises(InputError, match="counts votes"):
            run_against(attack, Defended(tiny, NoiseVote()), four)


def test_the_attacker_does_not_know_the_numbers_drawn(tiny: DualEncoder, four: Pairs) -> None:
    defended = Defended(tiny, RandomPad(), 5)
    known = defended.known()
    assert isinstance(known, Known) and type(known.facing(CAPTIONS)) is Known
    with torch.no_grad():
        mine, his = known.encode_image(four.images), defended.encode_image(four.images)
    assert not torch.allclose(mine, his, atol=1e-4)


def test_accuracy_counts_the_votes(tiny: DualEncoder, four: Pairs) -> None:
    defended = Defended(tiny, NoiseVote(0.3, votes=9), 0)
    assert facing(tiny, CAPTIONS) is tiny
    ballots = NoiseVote(0.3, votes=9).ballots(tiny.encode_image, four.images,
                                              tiny.encode_text(CAPTIONS))
    said = [max(range(4), key=ballot.counts.__getitem__) for ballot in ballots]
    assert right(defended, four).tolist() == [a == b for a, b in zip(said, range(4), strict=True)]


def test_a_defence_is_tried_on_what_is_there(tiny: DualEncoder, four: Pairs) -> None:
    result = run(build("pgd", "linf"), tiny, four)
    trial = try_defence(result, tiny, NoiseVote(votes=20))
    assert trial.seconds > 0 and trial.before > 0 and trial.ballots is not None
    assert [len(part) for part in trial.ballots] == [4, 4]
    plain = guarded(result, Defended(tiny, Blur()))
    assert torch.equal(plain.adversarial_images, result.adversarial_images)


def test_four_defences_of_one_photo_take_less_than_two_seconds(pocket: DualEncoder, cat: Pairs,
                                                               ) -> None:
    """Processor seconds, of both pictures; the issue asks for it on both models."""
    import time

    result = run(PGD(), pocket, cat)
    began = time.process_time()
    for name in ("jpeg", "blur", "bit-depth", "ttc"):
        try_defence(result, pocket, DEFENCES[name]())
    assert 2 * (time.process_time() - began) < 2 * 2  # both models, on two cores
