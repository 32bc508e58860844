"""The case that a page is asked to show: by its address, by a teacher's file, or by nobody."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from explorer.attacks.image.classic import PGD
from explorer.attacks.request import Request
from explorer.base.errors import InputError
from explorer.data.examples import Example, load_examples
from explorer.ui.shared.address import OWN, Preset, link

FIRST = "cat"  # the example that a page opens on
YOURS, TEACHERS = "your photo", "the teacher's photo"


@dataclass(frozen=True, eq=False)
class Asked:
    """request: without a picture where the photo is a visitor's and not here any more; address: of
    the case; key: what its result may be kept by for everybody, "" for a visitor's own photo."""

    request: Request
    address: str = ""
    key: str = ""


def asked_of(preset: Preset, pair: tuple[str, str], own: Callable[[str], str | None]) -> Asked:
    """own: the visitor's photo of an address, or None."""
    examples = load_examples()
    example = examples.get(preset.image or FIRST)
    request = _request(preset, pair, example)
    try:
        address = link(request)
    except InputError:  # whoever runs it is told
        return Asked(request)
    if preset.image == OWN:
        photo = own(address)
        here = photo is not None and Path(photo).is_file()
        return Asked(replace(request, pictures=(str(photo),) if here else ()), address)
    return Asked(request, address, address if example else f"{preset.image} {address}")


def _request(preset: Preset, pair: tuple[str, str], example: Example | None) -> Request:
    captions = preset.captions or (example or load_examples()[FIRST]).captions
    true = preset.true or (example.truth if example else "")
    photo = example.path if example else preset.image
    alt = example.alt if example else YOURS if preset.image == OWN else TEACHERS
    return Request(
        (photo,), captions, (true if true in captions else captions[0],), preset.made() or PGD(),
        preset.target or None, preset.goal or "classification",
        (preset.standard or pair[0], preset.robust or pair[1]), preset.seed, alt)
