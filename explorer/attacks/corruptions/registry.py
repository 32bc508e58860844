"""All corruptions by name, and the way from words to them."""

from __future__ import annotations

from collections.abc import Sequence

from explorer.attacks.corruptions.base import SEVERITIES, Corruption
from explorer.attacks.corruptions.blur import DefocusBlur, GlassBlur, MotionBlur, ZoomBlur
from explorer.attacks.corruptions.digital import (
    Contrast,
    ElasticTransform,
    JPEGCompression,
    Pixelate,
)
from explorer.attacks.corruptions.noise import GaussianNoise, ImpulseNoise, ShotNoise
from explorer.attacks.corruptions.weather import Brightness, Fog, Frost, Snow
from explorer.base.errors import InputError

CORRUPTIONS: dict[str, type[Corruption]] = {
    "gaussian-noise": GaussianNoise, "shot-noise": ShotNoise, "impulse-noise": ImpulseNoise,
    "defocus-blur": DefocusBlur, "glass-blur": GlassBlur, "motion-blur": MotionBlur,
    "zoom-blur": ZoomBlur, "snow": Snow, "frost": Frost, "fog": Fog, "brightness": Brightness,
    "contrast": Contrast, "elastic-transform": ElasticTransform, "pixelate": Pixelate,
    "jpeg-compression": JPEGCompression,
}
ALL = "all"


def name_of(corruption: Corruption) -> str:
    return next(name for name, kind in CORRUPTIONS.items() if kind is type(corruption))


def corruption_of(name: str, severity: int) -> Corruption:
    """Raises InputError for what there is not."""
    if name not in CORRUPTIONS:
        raise InputError(f"there is no corruption '{str(name)[:40]}'; known are {ALL}, "
                         f"{', '.join(CORRUPTIONS)}")
    return CORRUPTIONS[name](severity)


def corruptions_named(names: Sequence[str], severities: Sequence[int] = SEVERITIES,
                      ) -> list[Corruption]:
    """Each at each severity; "all" is all fifteen. Raises InputError."""
    wanted = [name.strip().lower() for name in names]
    wanted = list(CORRUPTIONS) if wanted == [ALL] else wanted
    for what, given in (("corruption", wanted), ("severity", severities)):
        if len(set(given)) < len(given) or (names and not given):
            raise InputError(f"name each {what} once, and one at least")
    return [corruption_of(name, severity) for name in wanted for severity in sorted(severities)]
