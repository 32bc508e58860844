"""TeCoA: perturbed pictures keep their captions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from explorer.training.methods.base import Method

if TYPE_CHECKING:
    from explorer.training.objective import Moment, Terms


class TeCoA(Method):
    """Cross-entropy of perturbed pictures over the clean captions."""

    title = "TeCoA: perturbed images against clean captions"
    source = "Mao et al. 2023, arXiv 2212.07016, section 3"
    trains = ("image",)
    image_attack = "label"

    def terms(self, on: Moment) -> Terms:
        return {"image": on.classify("adv_image")}
