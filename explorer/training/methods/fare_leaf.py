"""FARE and LEAF at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from explorer.training.methods.base import Method

if TYPE_CHECKING:
    from explorer.training.objective import Moment, Terms


class FareLeaf(Method):
    """The sum of both losses, each on its own tower."""

    title = "FARE for images and LEAF for captions"
    source = "Schlarmann et al. 2024, arXiv 2402.12336; Rocamora et al. 2025, arXiv 2506.03355"
    trains = ("image", "text")
    image_attack = "feature"
    text_attack = anchored = reads_still = True

    def terms(self, on: Moment) -> Terms:
        return {"image": on.stay("adv_image"), "text": on.stay("adv_text")}
