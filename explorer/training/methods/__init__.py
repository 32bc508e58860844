"""The fine-tuning methods by name: a file each. No heavy import."""

from __future__ import annotations

from explorer.training.methods.base import Method
from explorer.training.methods.clip import CleanClip
from explorer.training.methods.fare import Fare
from explorer.training.methods.fare_leaf import FareLeaf
from explorer.training.methods.leaf import Leaf
from explorer.training.methods.mmcoa import MMCoA
from explorer.training.methods.mmcoa_plus import MMCoAPlus
from explorer.training.methods.pmg_aft import PmgAft
from explorer.training.methods.tecoa import TeCoA
from explorer.training.methods.tga import Tga

METHODS: dict[str, Method] = {
    "clip": CleanClip(), "tecoa": TeCoA(), "fare": Fare(), "pmg-aft": PmgAft(), "tga": Tga(),
    "leaf": Leaf(), "fare+leaf": FareLeaf(), "mmcoa": MMCoA(), "mmcoa+": MMCoAPlus(),
}

__all__ = ["METHODS", "Method"]
