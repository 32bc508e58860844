"""The fine-tuning methods by name: what each trains and which attacks it needs. No heavy import."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Method:
    """title: for a person; trains: which of image, text and scale (the logit scale) may change;
    image_attack: "label" climbs the cross-entropy of the true caption, "feature" the distance
    to the frozen model's clean feature, "" is none; text_attack: whether captions are attacked;
    anchored: whether the loss needs the frozen model."""

    title: str
    source: str
    trains: tuple[str, ...]
    image_attack: str = ""
    text_attack: bool = False
    anchored: bool = False

    @property
    def leads_from_frozen(self) -> bool:
        """Whether captions are led away from the frozen model's features, as in LEAF, and not
        from their own of the moment."""
        return self.text_attack and "scale" not in self.trains


ALL = ("image", "text", "scale")
METHODS: dict[str, Method] = {
    "clip": Method(
        "Clean contrastive fine-tuning", "Radford et al. 2021, arXiv 2103.00020, figure 3", ALL),
    "tecoa": Method(
        "TeCoA: perturbed images against clean captions",
        "Mao et al. 2023, arXiv 2212.07016, section 3", ("image",), "label"),
    "fare": Method(
        "FARE: perturbed images stay where the clean ones were",
        "Schlarmann et al. 2024, arXiv 2402.12336, equation 3", ("image",), "feature",
        anchored=True),
    "pmg-aft": Method(
        "PMG-AFT: TeCoA guided by the frozen model",
        "Wang et al. 2024, arXiv 2401.04350, section 3", ("image",), "label", anchored=True),
    "tga": Method(
        "TGA-ZSR: TeCoA that keeps the text-guided attention",
        "Yu et al. 2024, arXiv 2410.21802, section 3", ("image",), "label", anchored=True),
    "leaf": Method(
        "LEAF: perturbed captions stay where the clean ones were",
        "Rocamora et al. 2025, arXiv 2506.03355, section 4", ("text",), text_attack=True,
        anchored=True),
    "fare+leaf": Method(
        "FARE for images and LEAF for captions",
        "Schlarmann et al. 2024, arXiv 2402.12336; Rocamora et al. 2025, arXiv 2506.03355",
        ("image", "text"), "feature", True, True),
    "mmcoa": Method(
        "MMCoA: perturbed images with clean captions, perturbed captions with clean images",
        "Zhou et al. 2024, arXiv 2404.19287, section 3", ALL, "label", True),
    "mmcoa+": Method(
        "MMCoA+: MMCoA held to the frozen model, same labels no longer apart",
        "ours, after Zhou et al. 2024, arXiv 2404.19287, and Schlarmann et al. 2024, "
        "arXiv 2402.12336", ALL, "label", True, True),
}
