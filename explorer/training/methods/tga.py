"""TGA-ZSR: TeCoA that keeps where the model looks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from explorer.training.methods.base import Method

if TYPE_CHECKING:
    from torch import Tensor

    from explorer.training.objective import Moment, Terms
    from explorer.training.recipe import Recipe
    from explorer.training.student import Student


class Tga(Method):
    """TeCoA's loss, and the distance of the text-guided attention, of perturbed and of clean
    pictures, from the frozen model's on the clean ones."""

    title = "TGA-ZSR: TeCoA that keeps the text-guided attention"
    source = "Yu et al. 2024, arXiv 2410.21802, section 3"
    trains = ("image",)
    image_attack = "label"
    anchored = reads_still = patches = True

    def check(self, student: Student) -> None:
        from explorer.training.attention import require_attention

        require_attention(student.clip.visual)

    def reads_clean(self, recipe: Recipe) -> bool:
        return True

    def terms(self, on: Moment) -> Terms:
        from explorer.training.attention import attention_map
        from explorer.training.losses import attention

        visual, (table, labels) = on.student.clip.visual, on.candidates

        def map_of(patches: Tensor) -> Tensor:
            return attention_map(patches, table[labels], visual.grid_size, visual.image_size)

        still, r = map_of(on.still["patches"]), on.recipe
        return {"image": on.classify("adv_image"), **{
            f"attention_{name}": weight * attention(map_of(on.patches[name]), still)
            for name, weight in (("adv_image", r.attention_adv), ("image", r.attention_clean))}}
