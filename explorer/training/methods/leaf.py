"""LEAF: perturbed captions stay where the clean ones were."""

from __future__ import annotations

from typing import TYPE_CHECKING

from explorer.training.methods.base import Method

if TYPE_CHECKING:
    from explorer.training.objective import Moment, Terms


class Leaf(Method):
    """Squared distance of perturbed captions' features from the frozen model's clean ones."""

    title = "LEAF: perturbed captions stay where the clean ones were"
    source = "Rocamora et al. 2025, arXiv 2506.03355, section 4"
    trains = ("text",)
    text_attack = anchored = True

    def terms(self, on: Moment) -> Terms:
        return {"text": on.stay("adv_text")}
