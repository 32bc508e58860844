"""Each goal against sums by hand."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from explorer.attacks.goals import (
    GOALS,
    Drift,
    Goal,
    Match,
    Misclassify,
    Towards,
    Unmatch,
    cosines,
    make_goal,
    probabilities,
)

TEXT = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
IMAGE = torch.tensor([[0.8, 0.6], [0.0, 1.0]])  # cosines [.8 .6 .96], [0 1 .8]
LABELS, TARGETS = torch.tensor([2, 2]), torch.tensor([0, 1])


def log_softmax(row: list[float], chosen: int, scale: float) -> float:
    """By hand: the log-probability of one entry."""
    return scale * row[chosen] - math.log(sum(math.exp(scale * v) for v in row))


def test_cosines_with_shared_and_with_own_captions() -> None:
    want = torch.tensor([[0.8, 0.6, 0.96], [0.0, 1.0, 0.8]])
    torch.testing.assert_close(cosines(IMAGE, TEXT), want)
    torch.testing.assert_close(cosines(IMAGE, torch.stack([TEXT, TEXT])), want)
    own = torch.stack([TEXT, TEXT.flip(0)])
    torch.testing.assert_close(cosines(IMAGE, own), torch.stack([want[0], want[1].flip(0)]))


def test_misclassify() -> None:
    goal = Misclassify(LABELS, 5.0)
    want = [-log_softmax([0.8, 0.6, 0.96], 2, 5.0), -log_softmax([0.0, 1.0, 0.8], 2, 5.0)]
    torch.testing.assert_close(goal.score(IMAGE, TEXT), torch.tensor(want))
    assert goal.reached(IMAGE, TEXT).tolist() == [False, True]


def test_towards() -> None:
    goal = Towards(TARGETS, 5.0)
    want = [log_softmax([0.8, 0.6, 0.96], 0, 5.0), log_softmax([0.0, 1.0, 0.8], 1, 5.0)]
    torch.testing.assert_close(goal.score(IMAGE, TEXT), torch.tensor(want))
    assert goal.reached(IMAGE, TEXT).tolist() == [False, True]


def test_unmatch() -> None:
    goal = Unmatch(torch.tensor([1, 0]), torch.tensor([0.9, 0.5]))
    torch.testing.assert_close(goal.score(IMAGE, TEXT), torch.tensor([-0.6, -0.0]))
    assert goal.reached(IMAGE, TEXT).tolist() == [False, True]  # 0.6 > 0.45; 0.0 < 0.25
    below = Unmatch(torch.tensor([0]), torch.tensor([-0.2]))
    assert below.reached(torch.tensor([[-0.1, 0.99]]), TEXT).tolist() == [True]
    assert below.reached(torch.tensor([[0.1, 0.99]]), TEXT).tolist() == [False]


def test_match() -> None:
    goal = Match(TARGETS, LABELS)
    torch.testing.assert_close(goal.score(IMAGE, TEXT), torch.tensor([0.8, 1.0]))
    assert goal.reached(IMAGE, TEXT).tolist() == [False, True]


def test_drift() -> None:
    clean, kept = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), TEXT[LABELS]
    goal = Drift(clean, kept, LABELS)
    torch.testing.assert_close(goal.score(IMAGE, TEXT), torch.tensor([0.4, 2.0]))
    torch.testing.assert_close(goal.score(IMAGE, TEXT), (IMAGE - clean).square().sum(1))
    assert goal.reached(IMAGE, TEXT).tolist() == [False, True]  # 37 and 90 degrees
    edge = torch.tensor([[math.cos(math.radians(a)), math.sin(math.radians(a))] for a in (59, 61)])
    assert goal.reached(edge, TEXT).tolist() == [False, True]


def test_drift_of_captions_counts_too() -> None:
    """The squared way of the image plus that of its own caption, wherever the others go."""
    clean, kept = IMAGE, TEXT[LABELS]
    goal = Drift(clean, kept, LABELS)
    moved = torch.stack([TEXT.clone(), TEXT.clone()])
    moved[0, 0] = torch.tensor([0.0, -1.0])  # another caption: no matter
    moved[1, 2] = torch.tensor([1.0, 0.0])  # its own: from (.6, .8) by 53 degrees
    want = (moved[1, 2] - TEXT[2]).square().sum()
    torch.testing.assert_close(goal.score(clean, moved), torch.stack([torch.zeros(()), want]))
    assert goal.reached(clean, moved).tolist() == [False, False]
    moved[1, 2] = torch.tensor([0.8, -0.6])  # by 90 degrees
    assert goal.reached(clean, moved).tolist() == [False, True]
    part = goal.subset(torch.tensor([1]))
    torch.testing.assert_close(part.score(clean[1:], moved[1:]), goal.score(clean, moved)[1:])


@pytest.mark.parametrize("targets", [None, TARGETS])
@pytest.mark.parametrize("kind", GOALS)
def test_goals_of_some_images_and_with_own_captions(kind: str, targets: Tensor | None) -> None:
    """subset and captions of each image's own change nothing but whose score it is."""
    text = F.normalize(torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(1)), dim=2)
    image = F.normalize(torch.randn(4, 3, generator=torch.Generator().manual_seed(2)), dim=1)
    labels = torch.tensor([0, 1, 2, 4])
    aims = None if targets is None else torch.tensor([1, 2, 3, 0])
    goal: Goal = make_goal(kind, image.roll(1, 0), text[0], labels, 5.0, aims)
    rows = torch.tensor([2, 0])
    part = goal.subset(rows)
    torch.testing.assert_close(part.score(image[rows], text[rows]), goal.score(image, text)[rows])
    assert torch.equal(part.reached(image[rows], text[rows]), goal.reached(image, text)[rows])
    shared = text[0].expand(4, 5, 3)
    torch.testing.assert_close(goal.score(image, shared), goal.score(image, text[0]))


@pytest.mark.parametrize("targets", [None, TARGETS])
@pytest.mark.parametrize("kind", GOALS)
def test_scores_grow_as_the_goal_comes_nearer(kind: str, targets: Tensor | None) -> None:
    """Gradients are finite and follow the score; climbing them reaches the goal."""
    image = F.normalize(torch.tensor([[0.7, 0.75], [0.5, 0.8]]), dim=1)
    goal: Goal = make_goal(kind, image, TEXT, LABELS, 5.0, targets)
    assert not bool(goal.reached(image, TEXT).any())
    raw = (image + torch.tensor([[0.02, -0.01], [-0.02, 0.01]])).requires_grad_(True)
    start = None
    for _ in range(400):
        score = goal.score(F.normalize(raw, dim=1), TEXT)
        start = score.detach() if start is None else start
        assert score.shape == (2,)
        (slope,) = torch.autograd.grad(score.sum(), raw)
        assert bool(torch.isfinite(slope).all())
        raw = (raw + 0.05 * slope).detach().requires_grad_(True)
    unit = F.normalize(raw.detach(), dim=1)
    assert start is not None and bool((goal.score(unit, TEXT) > start).all())
    assert bool(goal.reached(unit, TEXT).all())


def test_scores_stay_finite_for_sure_answers() -> None:
    """Cosines of 1 and -1 at CLIP's scale of 100."""
    image = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    for goal in (Misclassify(torch.tensor([0, 0]), 100.0), Towards(torch.tensor([1, 1]), 100.0)):
        moved = image.clone().requires_grad_(True)
        score = goal.score(moved, TEXT)
        (slope,) = torch.autograd.grad(score.sum(), moved)
        assert bool(torch.isfinite(score).all()) and bool(torch.isfinite(slope).all())


def test_make_goal_gives_the_kind_that_was_asked_for() -> None:
    kinds = {(kind, targets is None): type(make_goal(kind, IMAGE, TEXT, LABELS, 5.0, targets))
             for kind in GOALS for targets in (None, TARGETS)}
    assert kinds == {
        ("classification", True): Misclassify, ("classification", False): Towards,
        ("similarity", True): Unmatch, ("similarity", False): Match,
        ("embedding", True): Drift, ("embedding", False): Drift,
    }
    own = make_goal("similarity", IMAGE, TEXT, LABELS, 5.0)
    assert isinstance(own, Unmatch)
    torch.testing.assert_close(own.clean_cosine, torch.tensor([0.96, 0.8]))


def test_probabilities() -> None:
    got = probabilities(torch.tensor([[0.8, 0.6, 0.96]]), 5.0)[0]
    want = [math.exp(log_softmax([0.8, 0.6, 0.96], k, 5.0)) for k in range(3)]
    torch.testing.assert_close(got, torch.tensor(want))
