"""FARE: perturbed pictures stay where the clean ones were."""

from __future__ import annotations

from typing import TYPE_CHECKING

from explorer.training.methods.base import Method

if TYPE_CHECKING:
    from explorer.training.objective import Moment, Terms


class Fare(Method):
    """Squared distance of perturbed pictures' features from the frozen model's clean ones."""

    title = "FARE: perturbed images stay where the clean ones were"
    source = "Schlarmann et al. 2024, arXiv 2402.12336, equation 3"
    trains = ("image",)
    image_attack = "feature"
    anchored = reads_still = True

    def terms(self, on: Moment) -> Terms:
        return {"image": on.stay("adv_image")}
