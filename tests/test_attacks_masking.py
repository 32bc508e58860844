"""Signs of hidden gradients: none for an honest model, and each one for a model that hides them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from helpers import CAPTIONS, grid_images
from torch import Tensor

from explorer.attacks.engine import Step
from explorer.attacks.gradient_masking import Effort, Sign, look_for_signs, signs
from explorer.base.errors import InputError
from explorer.data.pairs import Pairs
from explorer.models.encoder import DualEncoder

NAMES = ["zero gradients", "black-box beats white-box", "noise as good as the attack",
         "no growth with the budget"]
SMALL = Effort(eps=24 / 255, steps=5, queries=150)


class Stepped(DualEncoder):
    """Reads pixels in a few coarse levels: the input's gradient is exactly zero."""

    def __init__(self, model: DualEncoder, levels: int) -> None:
        self.__dict__.update(model.__dict__)
        self.levels = levels

    def encode_image(self, pixels: Tensor, fast: bool = False) -> Tensor:
        return super().encode_image((pixels * self.levels).round() / self.levels, fast)


class Sure(DualEncoder):
    """Huge logits: the softmax is 1, and cross-entropy has no gradient left."""

    def __init__(self, model: DualEncoder) -> None:
        self.__dict__.update(model.__dict__)
        self.scale = model.scale * 1e6


class Deaf(DualEncoder):
    """Turns most of the picture's way to the features off, but not all: no budget breaks it."""

    def __init__(self, model: DualEncoder, said: Tensor) -> None:
        self.__dict__.update(model.__dict__)
        self.said = said

    def encode_image(self, pixels: Tensor, fast: bool = False) -> Tensor:
        features = super().encode_image(pixels, fast)
        return torch.nn.functional.normalize(self.said + 0.01 * features, dim=1)


def right_pairs(model: DualEncoder, images: Tensor, captions: Sequence[str] = CAPTIONS) -> Pairs:
    """The pictures, labelled with what the model says of them."""
    with torch.no_grad():
        near = model.encode_image(images) @ model.encode_text(captions).T
    return Pairs(images, tuple(captions), near.argmax(1))


def by_name(found: Sequence[Sign]) -> dict[str, Sign]:
    assert [s.name for s in found] == NAMES
    for sign in found:
        assert sign.sentence.endswith(".") and "\n" not in sign.sentence
    return {s.name: s for s in found}


def test_an_honest_model_shows_none(tiny: DualEncoder) -> None:
    found = by_name(signs(tiny, right_pairs(tiny, grid_images(6, 32)), effort=SMALL))
    assert not [s for s in found.values() if s.triggered]
    assert found["no growth with the budget"].value == 1.0


def test_the_embedded_model_shows_none(pocket: DualEncoder, cat: Pairs) -> None:
    found = by_name(signs(pocket, cat, effort=Effort(steps=5, queries=40)))
    assert not [s for s in found.values() if s.triggered], found


def test_a_model_that_reads_in_steps_shows_all(tiny: DualEncoder) -> None:
    model = Stepped(tiny, 16)
    found = by_name(signs(model, right_pairs(model, grid_images(8, 32)), effort=SMALL))
    assert [s.name for s in found.values() if s.triggered] == NAMES, found
    assert found["zero gradients"].value == 1.0
    assert found["black-box beats white-box"].value > 0


def test_a_model_that_is_too_sure_hides_its_gradient(tiny: DualEncoder) -> None:
    model = Sure(tiny)
    found = by_name(signs(model, right_pairs(model, grid_images(8, 32)), effort=SMALL))
    assert found["zero gradients"].triggered and found["black-box beats white-box"].triggered


def test_a_model_that_no_budget_breaks_is_suspect(tiny: DualEncoder) -> None:
    """Its gradient is honest: only the growth with the budget gives it away."""
    images = grid_images(3, 32)
    (said,) = tiny.encode_text([CAPTIONS[0]])
    model = Deaf(tiny, said)
    found = by_name(signs(model, right_pairs(model, images), effort=SMALL))
    assert [s.name for s in found.values() if s.triggered] == ["no growth with the budget"]
    assert found["no growth with the budget"].value == 0.0


def test_progress_is_counted_to_the_end(tiny: DualEncoder) -> None:
    pairs = right_pairs(tiny, grid_images(2, 32))
    *steps, found = look_for_signs(tiny, pairs, effort=Effort(steps=3, queries=20))
    assert isinstance(found, tuple) and len(found) == 4
    places = [s.index for s in steps if isinstance(s, Step)]
    assert len(places) == len(steps) and places == sorted(set(places))
    assert {s.total for s in steps if isinstance(s, Step)} == {3 * 3 + 20 + 1} == {places[-1]}


def test_same_seed_same_signs(tiny: DualEncoder) -> None:
    pairs, effort = right_pairs(tiny, grid_images(2, 32)), Effort(steps=2, queries=20)
    assert signs(tiny, pairs, 1, effort) == signs(tiny, pairs, 1, effort)


def test_only_images_that_are_right_count(tiny: DualEncoder) -> None:
    pairs = right_pairs(tiny, grid_images(3, 32))
    wrong = Pairs(pairs.images, pairs.captions, (pairs.labels + 1) % 4)
    with pytest.raises(InputError, match="none of these images right"):
        signs(tiny, wrong)
    with pytest.raises(InputError, match="one caption"):
        signs(tiny, Pairs(pairs.images, ("a cat",), torch.zeros(3, dtype=torch.long)))
    mixed = Pairs(pairs.images, pairs.captions, torch.cat([pairs.labels[:2], wrong.labels[2:]]))
    two = Pairs(pairs.images[:2], pairs.captions, pairs.labels[:2])
    effort = Effort(steps=2, queries=20)
    assert signs(tiny, mixed, 0, effort) == signs(tiny, two, 0, effort)
