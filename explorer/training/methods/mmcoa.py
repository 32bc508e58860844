"""MMCoA: both inputs are attacked, each against the other as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from explorer.training.methods.base import ALL, Method

if TYPE_CHECKING:
    from explorer.training.objective import Moment, Terms
    from explorer.training.recipe import Recipe


class MMCoA(Method):
    """Contrastive loss of perturbed pictures with clean captions, and the other way round."""

    title = "MMCoA: perturbed images with clean captions, perturbed captions with clean images"
    source = "Zhou et al. 2024, arXiv 2404.19287, section 3"
    trains = ALL
    image_attack = "label"
    text_attack = sides = True

    def reads_clean(self, recipe: Recipe) -> bool:
        return recipe.attacks_text

    def terms(self, on: Moment) -> Terms:
        r, found = on.recipe, {}
        if r.attacks_images:
            found["image"] = r.lambda_img * on.contrastive("adv_image", "text")
        if r.attacks_text:
            found["text"] = r.lambda_txt * on.contrastive("image", "adv_text")
        return found
