"""Numbers that are reported, against numbers worked out another way."""

from __future__ import annotations

import pytest
import torch
from helpers import CAPTIONS, Linear, grid_images, tiny_clip
from open_clip.tokenizer import SimpleTokenizer

from explorer.analysis.metrics import evaluate, evaluate_row, read_by, row, smallest_flip
from explorer.attacks.engine import Step
from explorer.attacks.image.classic import FGSM, PGD, Noise
from explorer.attacks.run import run
from explorer.base.intervals import wilson
from explorer.data.pairs import Pairs
from explorer.models.cards import Card
from explorer.models.encoder import DualEncoder
from explorer.results.outcome import Flip


@pytest.mark.parametrize(("hits", "n", "low", "high"), [
    (8, 10, 0.49016, 0.94331), (0, 10, 0.0, 0.27753), (10, 10, 0.72247, 1.0),
    (50, 100, 0.40383, 0.59617), (0, 0, 0.0, 1.0),
])
def test_wilson(hits: int, n: int, low: float, high: float) -> None:
    """Known values, as R's prop.test(correct = FALSE) and statsmodels print them."""
    assert wilson(hits, n) == pytest.approx((low, high), abs=2e-5)


def test_row() -> None:
    line = row("m", "pgd", 4 / 255, torch.tensor([True, True, False, True]), 1.23456)
    assert (line.accuracy, line.n, line.eps_255, line.seconds) == (0.75, 4, 4.0, 1.235)
    assert line.ci95 == wilson(3, 4)
    empty = row("m", "clean", 0.0, torch.zeros(0, dtype=torch.bool), 0.0)
    assert (empty.accuracy, empty.ci95) == (0.0, (0.0, 1.0))


def half_right(model: DualEncoder) -> list[Pairs]:
    """Three batches of two pictures; in each the model is right on the first only."""
    images = grid_images(6, model.size, seed=11)
    with torch.no_grad():
        said = (model.encode_image(images) @ model.encode_text(CAPTIONS).T).argmax(1)
    labels = said.clone()
    labels[1::2] = (said[1::2] + 1) % len(CAPTIONS)
    return [Pairs(images[k : k + 2], CAPTIONS, labels[k : k + 2]) for k in (0, 2, 4)]


def test_evaluate_counts_by_hand(tiny: DualEncoder) -> None:
    batches = half_right(tiny)
    clean = list(evaluate(tiny, None, batches))
    assert [done for done, _ in clean] == [2, 4, 6]
    assert torch.cat([hits for _, hits in clean]).tolist() == [True, False] * 3

    attack = FGSM(16 / 255)
    held = torch.cat([hits for _, hits in evaluate(tiny, attack, batches, seed=2)])
    want = []
    for pairs in batches:  # only the first of each batch is worth attacking
        alone = Pairs(pairs.images[:1], CAPTIONS, pairs.labels[:1])
        want += [bool(run(attack, tiny, alone, seed=2).correct_after[0]), False]
    assert held.tolist() == want and not all(want[::2])

    line = evaluate_row(tiny, "fgsm", attack, batches, seed=2)
    assert (line.model, line.attack, line.n, line.eps_255) == ("tiny", "fgsm", 6, 16.0)
    assert line.accuracy == sum(want) / 6


def test_evaluate_with_nothing_to_attack(tiny: DualEncoder) -> None:
    wrong = [Pairs(p.images[1:], CAPTIONS, p.labels[1:]) for p in half_right(tiny)]
    assert [h.tolist() for _, h in evaluate(tiny, PGD(), wrong)] == [[False]] * 3


def last(events: object) -> tuple[Flip, int]:
    """The Flip that ends a search, and how many steps came before."""
    seen = list(events)  # type: ignore[call-overload]
    assert all(isinstance(e, Step) for e in seen[:-1]) and isinstance(seen[-1], Flip)
    return seen[-1], len(seen) - 1


def test_smallest_flip_equals_trying_every_level(tiny: DualEncoder) -> None:
    """Pictures that flip at different levels, each against all levels one by one."""
    found = set()
    for seed in range(4):
        image = grid_images(1, 32, seed=seed, low=60, high=190)
        with torch.no_grad():
            near = (tiny.encode_image(image) @ tiny.encode_text(CAPTIONS).T)[0]
        pairs = Pairs(image, CAPTIONS, near.argmax()[None])
        attack = FGSM()
        flips = [bool(run(FGSM(k / 255), tiny, pairs, seed=1).success[0]) for k in range(1, 9)]
        assert flips == sorted(flips), "the case must be one where more budget never fails"
        want = flips.index(True) + 1 if any(flips) else None
        assert last(smallest_flip(attack, tiny, pairs, seed=1, most=8))[0] == Flip(want, 8)
        found.add(want)
    assert len(found) > 1


def test_smallest_flip_sets_the_step_of_pgd(linear: Linear) -> None:
    """A linear model flips at a level that can be worked out: the margin over the slope's size."""
    image = torch.full((1, 3, 4, 4), 128 / 255)
    text = linear.encode_text(["a", "b"])
    near = (linear.encode_image(image) @ text.T)[0]
    label = int(near.argmax())
    slope = (linear.weight[0] - linear.weight[1]).abs().sum()
    exact = float((near[0] - near[1]).abs() / slope) * 255
    pairs = Pairs(image, ("a", "b"), torch.tensor([label]))
    attack = PGD(steps=20, random_start=False)
    flip, steps = last(smallest_flip(attack, linear, pairs, most=int(exact) + 8))
    assert flip.level == int(exact) + 1
    assert steps % 20 == 0 and steps > 0
    short, _ = last(smallest_flip(attack, linear, pairs, most=max(1, int(exact) - 1)))
    assert short.level is None


def test_smallest_flip_of_a_wrong_picture_is_zero(tiny: DualEncoder) -> None:
    pairs = half_right(tiny)[0]
    wrong = Pairs(pairs.images[1:], CAPTIONS, pairs.labels[1:])
    assert last(smallest_flip(FGSM(), tiny, wrong))[0].level == 0


def test_read_by_the_same_model_equals_its_own_reading(tiny: DualEncoder, four: Pairs) -> None:
    result = run(PGD(8 / 255, steps=3), tiny, four)
    clean, moved = read_by(tiny, result)
    torch.testing.assert_close(clean.cosines, result.clean.cosines)
    torch.testing.assert_close(moved.cosines, result.adversarial.cosines)
    torch.testing.assert_close(moved.probabilities, result.adversarial.probabilities)


def test_read_by_another_model_and_another_size(tiny: DualEncoder, pocket: DualEncoder,
                                                four: Pairs) -> None:
    result = run(Noise(8 / 255), tiny, four)
    other = DualEncoder(tiny_clip(1), SimpleTokenizer(context_length=16),
                        Card("other", "", "standard", "", "", ""), 32, (0.5,) * 3, (0.25,) * 3,
                        "cpu")
    _, moved = read_by(other, result)
    with torch.no_grad():
        want = other.encode_image(result.adversarial_images) @ other.encode_text(CAPTIONS).T
    torch.testing.assert_close(moved.cosines, want)
    clean, moved = read_by(pocket, result)
    assert clean.cosines.shape == moved.cosines.shape == (4, 4)
    assert clean.features.shape == (4, pocket.dim)
    assert not torch.equal(clean.cosines, moved.cosines)
