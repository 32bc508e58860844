"""PMG-AFT: TeCoA guided by the model as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

from explorer.training.methods.base import Method

if TYPE_CHECKING:
    from explorer.training.objective import Moment, Terms
    from explorer.training.recipe import Recipe


class PmgAft(Method):
    """TeCoA's loss, and two divergences: from what the frozen model says of the same perturbed
    pictures, and from what the model itself says of the clean ones."""

    title = "PMG-AFT: TeCoA guided by the frozen model"
    source = "Wang et al. 2024, arXiv 2401.04350, section 3"
    trains = ("image",)
    image_attack = "label"
    anchored = True

    def reads_clean(self, recipe: Recipe) -> bool:
        return True

    def terms(self, on: Moment) -> Terms:
        from explorer.training.losses import divergence

        logits = on.logits("adv_image")
        return {"image": on.classify("adv_image"),
                "kl_frozen": divergence(logits, on.frozen_logits("adv_image")),
                "kl_clean": divergence(logits, on.logits("image"))}
