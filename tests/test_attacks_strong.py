"""The strong preset: three attacks in a row, each on what still stands."""

from __future__ import annotations

import torch
from attack_helpers import finish, objective, parabola
from helpers import grid_images

from explorer.attacks.image.classic import APGD, APGDT, PGD, Square, Strong
from explorer.attacks.run import run
from explorer.base.randomness import PerImage
from explorer.data.pairs import Pairs
from explorer.models.encoder import DualEncoder


def small(eps: float, norm: str = "linf") -> Strong:
    return Strong(eps, norm, steps=5, targeted_steps=5, targets=2, queries=40)


def said(model: DualEncoder, images: torch.Tensor, captions: tuple[str, ...]) -> torch.Tensor:
    with torch.no_grad():
        near: torch.Tensor = model.encode_image(images) @ model.encode_text(captions).T
    return near.argmax(1)


def test_its_parts_and_their_length() -> None:
    attack = small(4 / 255, "l2")
    assert attack.stages == (APGD(4 / 255, "l2", 5), APGDT(4 / 255, "l2", 5, 2),
                             Square(4 / 255, "l2", 40))
    assert attack.total == 5 + 2 * 5 + 40
    assert Strong().total == 50 + 3 * 20 + 500


def test_each_part_gets_what_still_stands(tiny: DualEncoder, four: Pairs) -> None:
    """An image that APGD breaks as it would be saved is asked about no more; the others are asked
    by all three; and nothing that a part broke is lost."""
    images = grid_images(12, 32, seed=5)
    pairs = Pairs(images, four.captions, said(tiny, images, four.captions))
    attack = small(2 / 255)
    loss = objective(tiny, pairs)
    found = finish(attack.iterate(loss, pairs.images, PerImage(0, pairs.images)))
    asked = loss.counts.tolist()
    first = finish(attack.stages[0].iterate(objective(tiny, pairs), pairs.images,
                                            PerImage(0, pairs.images)))
    ball = attack.ball
    fell = loss.reached(ball.quantise(first, pairs.images)).tolist()
    after_first = 5 + 1 + 1  # steps, start, verdict
    assert [n == after_first for n in asked] == fell
    assert any(fell) and not all(fell), "the case must split the batch"
    end = loss.reached(ball.quantise(found, pairs.images)).tolist()
    assert all(e for e, f in zip(end, fell, strict=True) if f)
    whole = after_first + 1 + 2 * (5 + 1 + 1) + 40
    assert all(n >= whole for n, e in zip(asked, end, strict=True) if not e)


def test_it_ends_when_nothing_stands(tiny: DualEncoder, four: Pairs) -> None:
    wrong = (said(tiny, four.images, four.captions) + 1) % 4
    pairs = Pairs(four.images, four.captions, wrong)
    attack = small(1 / 255)
    steps = list(attack.iterate(objective(tiny, pairs), pairs.images, PerImage(0, pairs.images)))
    assert len(steps) == 5 < attack.total


def test_it_breaks_what_its_parts_break(tiny: DualEncoder, four: Pairs) -> None:
    pairs = Pairs(grid_images(12, 32, seed=5), four.captions,
                  said(tiny, grid_images(12, 32, seed=5), four.captions))
    eps = 2 / 255
    strong = run(small(eps), tiny, pairs)
    pgd = run(PGD(eps, step=eps / 4, steps=5), tiny, pairs)
    apgd = run(APGD(eps, steps=5), tiny, pairs)
    assert 0 < int(apgd.success.sum()) < 12, "the case must be neither too easy nor too hard"
    assert bool((strong.success | ~apgd.success).all())
    assert int(strong.success.sum()) >= int(pgd.success.sum())


def test_a_bare_function_goes_through_all_three() -> None:
    x = grid_images(2, 8)
    attack = small(8 / 255)
    steps = list(attack.iterate(parabola, x, PerImage(0, x)))
    assert len(steps) == 5 + 5 + 40, "APGD-T has one target when nothing is known of captions"
    best = finish(attack.iterate(parabola, x, PerImage(0, x)))
    lone = finish(APGD(8 / 255, steps=5).iterate(parabola, x, PerImage(0, x)))
    assert bool((parabola(best) >= parabola(lone) - 1e-6).all())
