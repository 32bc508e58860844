"""Clean contrastive fine-tuning, the baseline of all others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from explorer.training.methods.base import ALL, Method

if TYPE_CHECKING:
    from explorer.training.objective import Moment, Terms
    from explorer.training.recipe import Recipe


class CleanClip(Method):
    """CLIP's symmetric loss on clean pictures and captions."""

    title = "Clean contrastive fine-tuning"
    source = "Radford et al. 2021, arXiv 2103.00020, figure 3"
    trains = ALL
    hardens = False

    def reads_clean(self, recipe: Recipe) -> bool:
        return True

    def terms(self, on: Moment) -> Terms:
        return {"clean": 0.5 * on.contrastive("image", "text")}
