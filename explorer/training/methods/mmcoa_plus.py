"""MMCoA+: MMCoA held to the model as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

from explorer.training.methods.mmcoa import MMCoA

if TYPE_CHECKING:
    from explorer.training.objective import Moment, Terms
    from explorer.training.recipe import Recipe


class MMCoAPlus(MMCoA):
    """MMCoA's terms, a joint one where asked for, and the distance of both towers from the frozen
    model's clean features."""

    title = "MMCoA+: MMCoA held to the frozen model, same labels no longer apart"
    source = ("ours, after Zhou et al. 2024, arXiv 2404.19287, and Schlarmann et al. 2024, "
              "arXiv 2402.12336")
    anchored = reads_still = True

    def reads_clean(self, recipe: Recipe) -> bool:
        return True

    def terms(self, on: Moment) -> Terms:
        from explorer.training.losses import turn

        r, found = on.recipe, super().terms(on)
        if r.joint and r.attack_sides == "both":
            found["joint"] = r.joint * on.contrastive("adv_image", "adv_text")
        if r.anchor and "image" in r.trained:
            moved = [turn(on.unit(name), on.still_unit("image")) for name in ("adv_image", "image")
                     if name in on.raw]
            found["anchor_image"] = r.anchor * sum(moved[1:], moved[0]) / len(moved)
        if r.text_anchor and "text" in r.trained:
            name = "adv_text" if r.attacks_text else "text"
            found["anchor_text"] = r.text_anchor * turn(on.unit(name), on.still_unit("text"))
        return found
