"""DLR by hand, APGD towards wrong captions, restarts, and the objective that attacks ask."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from attack_helpers import build, finish, objective, parabola, steps_of
from helpers import grid_images
from torch import Tensor

from explorer.attacks.goals import GOALS, Misclassify, Towards
from explorer.attacks.image.apgd import wrong_captions
from explorer.attacks.image.classic import APGD, APGDDLR, APGDT, PGD
from explorer.attacks.objective import ask, dlr, goal_score, margin, part_of
from explorer.attacks.run import run
from explorer.base.randomness import PerImage
from explorer.data.pairs import Pairs
from explorer.models.encoder import DualEncoder

LOGITS = torch.tensor([[4.0, 3.0, 1.0, 0.5], [1.0, 3.0, 4.0, 0.5]])


def features_of(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Image and text features whose cosines, as the goals take them, are these logits."""
    return logits, torch.eye(logits.shape[1])


def test_dlr_by_hand() -> None:
    """-(z_y - max other) / (z1 - z3), equation 6: (3 - 4) / (4 - 1) and (4 - 1) / (4 - 1)."""
    aim = Misclassify(torch.tensor([0, 0]), 1.0)
    got = aim.dlr(*features_of(LOGITS))
    torch.testing.assert_close(got, torch.tensor([-1 / 3, 1.0]))
    scaled = Misclassify(torch.tensor([0, 0]), 50.0).dlr(*features_of(LOGITS))
    torch.testing.assert_close(scaled, got, msg="no rescaling of the logits changes it")


def test_targeted_dlr_by_hand() -> None:
    """(z_t - z_y) / (z1 - (z3 + z4) / 2), equation 7: the divisor is 4 - 0.75."""
    aim = Misclassify(torch.tensor([0, 0]), 1.0)
    got = aim.dlr_towards(*features_of(LOGITS), torch.tensor([1, 2]))
    torch.testing.assert_close(got, torch.tensor([-1 / 3.25, 3 / 3.25]))
    chosen = Towards(torch.tensor([1, 1]), 1.0).dlr(*features_of(LOGITS))
    torch.testing.assert_close(chosen, torch.tensor([-1 / 3.25, -1 / 3.25]))


@pytest.mark.parametrize(("captions", "want", "aimed"), [(3, -1 / 3, -1 / 3), (2, -1.0, -1.0)])
def test_dlr_of_few_captions(captions: int, want: float, aimed: float) -> None:
    """Three: divided by 4 - 1 in both. Two: the plain difference, whose gradient is not zero."""
    logits = LOGITS[:1, :captions].clone().requires_grad_(True)
    aim = Misclassify(torch.tensor([0]), 1.0)
    value = aim.dlr(*features_of(logits))
    torch.testing.assert_close(value, torch.tensor([want]))
    got = aim.dlr_towards(*features_of(logits), torch.tensor([1]))
    torch.testing.assert_close(got, torch.tensor([aimed]))
    (slope,) = torch.autograd.grad(value.sum(), logits)
    assert float(slope.abs().sum()) > 0


def test_margins_tell_what_is_reached() -> None:
    for aim in (Misclassify(torch.tensor([0, 0]), 7.0), Towards(torch.tensor([2, 2]), 7.0)):
        near = features_of(LOGITS)
        assert torch.equal(aim.margin(*near) > 0, aim.reached(*near))
        assert torch.equal(aim.dlr(*near) > 0, aim.reached(*near))
    by_hand = torch.tensor([-7.0, 21.0])
    torch.testing.assert_close(Misclassify(torch.tensor([0, 0]), 7.0).margin(*near), by_hand)


@pytest.mark.parametrize("goal", [g for g in GOALS if g != "classification"])
def test_goals_without_an_answer_fall_back_to_their_score(goal: str, tiny: DualEncoder,
                                                          four: Pairs) -> None:
    loss = objective(tiny, four, goal)
    x = (four.images + 0.01).clamp(0, 1)
    for measure in (dlr, margin):
        assert torch.equal(loss.using(measure)(x), loss(x))
    assert loss.logits(x) is None and wrong_captions(loss, x, 3) is None
    other = run(build("apgd", "linf"), tiny, four, goal)
    same = run(build("apgd-dlr", "linf"), tiny, four, goal)
    assert torch.equal(same.adversarial_images, other.adversarial_images)


def test_a_model_that_hides_its_gradient_by_certainty(tiny: DualEncoder, four: Pairs) -> None:
    """With huge logits the softmax is 1 and the gradient of cross-entropy exactly 0; DLR divides
    the scale away (section 4 of the paper)."""
    sure = DualEncoder.__new__(DualEncoder)
    sure.__dict__.update(tiny.__dict__)
    sure.scale = tiny.scale * 1e6
    with torch.no_grad():
        near = tiny.encode_image(four.images) @ tiny.encode_text(four.captions).T
    pairs = Pairs(four.images, four.captions, near.argmax(1))
    blind = run(PGD(16 / 255, step=4 / 255, random_start=False), sure, pairs)
    assert not bool(blind.changed.any()), "there is no gradient to follow"
    seeing = run(APGDDLR(16 / 255), sure, pairs)
    assert bool(seeing.success.any())


def test_wrong_captions_come_nearest_first(tiny: DualEncoder, four: Pairs) -> None:
    loss = objective(tiny, four)
    logits = loss.logits(four.images)
    assert logits is not None
    places = wrong_captions(loss, four.images, 9)
    assert places is not None and places.shape == (4, 3), "fewer captions, fewer targets"
    for row, label, likely in zip(places, four.labels, logits, strict=True):
        order = [int(k) for k in likely.argsort(descending=True) if k != label]
        assert row.tolist() == order


def test_apgd_t_leaves_broken_images_alone(tiny: DualEncoder, four: Pairs) -> None:
    """Each image is asked about until it is broken, and no longer."""
    attack = APGDT(8 / 255, steps=5, targets=3)
    loss = objective(tiny, four)
    found = finish(attack.iterate(loss, four.images, PerImage(0, four.images)))
    one_turn = 5 + 1 + 1  # steps, start, verdict
    turns = (loss.counts - 1) / one_turn  # one look at the clean pictures
    assert set(turns.tolist()) <= {1.0, 2.0, 3.0}
    met = loss.reached(attack.ball.quantise(found, four.images))
    assert bool((met | (turns == 3)).all())
    assert bool((turns < 3).any()), "the case must have an image that falls early"


def test_apgd_t_with_a_chosen_caption_is_apgd_dlr(tiny: DualEncoder, four: Pairs) -> None:
    targets = torch.tensor([1, 2, 3, 0])
    one = run(APGDT(8 / 255, steps=6), tiny, four, targets=targets)
    same = run(APGDDLR(8 / 255, steps=6), tiny, four, targets=targets)
    assert torch.equal(one.adversarial_images, same.adversarial_images)


@pytest.mark.parametrize("kind", [PGD, APGD])
def test_restarts_keep_the_best_of_each_image(kind: type[PGD], tiny: DualEncoder,
                                              four: Pairs) -> None:
    attack = kind(4 / 255, steps=3, restarts=3)
    loss = objective(tiny, four)
    steps = steps_of(attack, loss, four.images)
    assert len(steps) == attack.total == 9
    random = PerImage(0, four.images)  # three single runs that draw on in the same order
    single = dataclasses.replace(attack, restarts=1)
    runs = [finish(single.iterate(loss, four.images, random)) for _ in range(3)]
    assert not torch.equal(runs[0], runs[1])
    best = finish(attack.iterate(loss, four.images, PerImage(0, four.images)))
    values = torch.stack([loss(r) for r in runs])
    torch.testing.assert_close(loss(best), values.amax(0))
    assert len(set(values.argmax(0).tolist())) > 1, "another run must win for another image"


def test_restarts_without_a_random_start_begin_at_the_clean_picture_once() -> None:
    x = grid_images(2, 4)
    attack = PGD(4 / 255, step=1 / 255, steps=1, random_start=False, restarts=2)
    first, second = steps_of(attack, parabola, x)
    lone = steps_of(dataclasses.replace(attack, restarts=1), parabola, x)
    assert torch.equal(first, lone[0]) and not torch.equal(first, second)


# --- the objective ---------------------------------------------------------------------------


@pytest.mark.parametrize(("goal", "targeted"), [
    *((goal, False) for goal in GOALS), ("classification", True), ("similarity", True)])
def test_a_subset_answers_as_the_whole(goal: str, targeted: bool, tiny: DualEncoder,
                                       four: Pairs) -> None:
    loss = objective(tiny, four, goal, torch.tensor([1, 2, 3, 0]) if targeted else None)
    x = (four.images + 0.02).clamp(0, 1)
    rows = torch.tensor([3, 1])
    part = loss.subset(rows)
    for measure in (goal_score, dlr, margin):
        torch.testing.assert_close(part.using(measure)(x[rows]), loss.using(measure)(x)[rows])
    assert torch.equal(part.reached(x[rows]), loss.reached(x)[rows])
    torch.testing.assert_close(part.subset(torch.tensor([1]))(x[1:2]), loss(x)[1:2])
    own = dataclasses.replace(loss, text=loss.text.expand(4, -1, -1))  # captions of its own each
    torch.testing.assert_close(own.subset(rows)(x[rows]), loss(x)[rows])


def test_every_question_is_counted_for_the_images_it_was_about(tiny: DualEncoder,
                                                               four: Pairs) -> None:
    loss = objective(tiny, four)
    assert loss.queries == 0
    loss(four.images)
    part = loss.subset(torch.tensor([2, 3]))
    part.using(dlr)(four.images[2:])
    part.look(four.images[2:])
    part.subset(torch.tensor([1])).logits(four.images[3:])
    assert loss.counts.tolist() == [1, 1, 3, 4] and loss.queries == 4 == part.queries


def test_looking_takes_no_gradient_and_full_precision(pocket: DualEncoder, cat: Pairs) -> None:
    loss = objective(pocket, cat)
    x = cat.images.clone().requires_grad_(True)
    value, met = loss.look(x)
    assert not value.requires_grad and loss(x).requires_grad
    text = pocket.encode_text(cat.captions)
    with torch.no_grad():
        exact = loss.aim.score(pocket.encode_image(cat.images), text)
    assert torch.equal(value, exact) and not bool(met[0])


def test_a_plain_function_is_never_done() -> None:
    x = grid_images(2, 4)
    plain = ask(parabola)
    assert torch.equal(plain(x), parabola(x)) and not bool(plain.reached(x).any())
    assert plain.logits(x) is None and plain.subset(torch.tensor([0])) is plain
    assert ask(plain) is plain and plain.using(dlr) is plain


def test_parts_draw_from_the_same_generators(four: Pairs) -> None:
    whole, same = PerImage(3, four.images), PerImage(3, four.images)
    part = part_of(same, torch.tensor([2, 0]))
    drawn = part.uniform()
    want = whole.uniform()
    assert torch.equal(drawn, want[[2, 0]])
    later, rest = whole.uniform(), same.uniform()
    assert torch.equal(rest[2], later[2]) and torch.equal(rest[1], want[1])
