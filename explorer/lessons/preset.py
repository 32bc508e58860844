"""What a teacher sets beforehand, in the page's address or in a file: see docs/teaching.md."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from explorer.errors import InputError
from explorer.lessons.bench import photos
from explorer.lessons.texts import COUNT, LANGUAGES
from explorer.pairs import clean_captions

TABS = ("attack", "space", "train", "failures", "evaluate", "learn")
LIST = "|"  # between captions in an address
FIELDS = ("lang", "tab", "lesson", "hide", "standard", "robust", "image", "captions", "true")


@dataclass(frozen=True)
class Preset:
    """Empty fields change nothing. hide: ids of tabs; image: id of an example, or in a file a
    picture's path; captions: of the photo; true: the true one, the first where empty."""

    lang: str = ""
    tab: str = ""
    lesson: int = 0
    hide: tuple[str, ...] = ()
    standard: str = ""
    robust: str = ""
    image: str = ""
    captions: tuple[str, ...] = ()
    true: str = ""

    @property
    def attacks(self) -> bool:
        """Whether the Attack tab is set to something of its own."""
        return bool(self.image or self.captions or self.standard or self.robust)

    def over(self, base: Preset) -> Preset:
        """This one, with the fields of `base` where it has none. A photo comes with its own
        captions, so those of `base` do not join it."""
        mine = {name: getattr(self, name) for name in FIELDS if getattr(self, name)}
        if self.image and not self.captions:
            mine |= {"captions": (), "true": ""}
        return replace(base, **mine)


def _known(value: str, known: Any, what: str) -> str:
    if value and value not in known:
        raise InputError(f"a preset's {what} must be one of {', '.join(known)}, not "
                         f"'{value[:40]}'")
    return value


def _number(raw: Any) -> int:
    try:
        number = int(raw or 0)
    except (TypeError, ValueError):
        number = -1
    if not 0 <= number <= COUNT:
        raise InputError(f"a preset's lesson must be a number from 1 to {COUNT}, not "
                         f"'{str(raw)[:40]}'")
    return number


def _checked(raw: Mapping[str, Any], models: Any) -> Preset:
    for name in ("captions", "hide"):
        if not all(isinstance(part, str) for part in raw.get(name) or ()):
            raise InputError(f"in a preset, each of {name} must be text")
    captions = clean_captions(raw["captions"]) if raw.get("captions") else ()
    true = str(raw.get("true") or "")
    hide = tuple(raw.get("hide") or ())
    if len(hide) >= len(TABS):
        raise InputError("a preset cannot hide every tab")
    for name in hide:
        _known(str(name), TABS, "hide")
    tab = _known(str(raw.get("tab") or ""), TABS, "tab")
    if tab in hide:
        raise InputError(f"a preset cannot open the tab '{tab}' that it hides")
    if true and captions and true not in captions:
        raise InputError(f"a preset's true caption must be one of its captions, not '{true[:40]}'")
    return Preset(
        _known(str(raw.get("lang") or ""), LANGUAGES, "lang"), tab, _number(raw.get("lesson")),
        tuple(str(h) for h in hide), _known(str(raw.get("standard") or ""), models, "standard"),
        _known(str(raw.get("robust") or ""), models, "robust"), str(raw.get("image") or ""),
        captions, true)


def from_query(query: Mapping[str, str], models: Any) -> Preset:
    """The preset in an address: ?lesson=3&tab=learn&hide=train|space&captions=a cat|a dog.

    models: ids that may be named. Fields it does not know are left alone, since others use the
    address too. Raises InputError for a wrong value.
    """
    raw: dict[str, Any] = {k: query[k] for k in FIELDS if query.get(k)}
    for name in ("captions", "hide"):
        if name in raw:
            raw[name] = [part.strip() for part in raw[name].split(LIST) if part.strip()]
    preset = _checked(raw, models)
    _known(preset.image, photos(), "image")
    return preset


def from_file(path: Path, models: Any) -> Preset:
    """The preset in a JSON file; a picture's path is taken from the file's folder. Raises
    InputError when the file cannot be read or something in it is wrong."""
    try:
        raw = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InputError(f"cannot read the preset {path}: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"the preset {path.name} is no JSON: {error}") from None
    if not isinstance(raw, dict) or not all(
            isinstance(raw.get(k, []), list) for k in ("captions", "hide")):
        raise InputError(f"the preset {path.name} must be a JSON object, with lists for captions "
                         "and hide")
    wrong = sorted(set(raw) - set(FIELDS))
    if wrong:
        raise InputError(f"the preset {path.name} has the unknown field '{wrong[0]}'; known are "
                         f"{', '.join(FIELDS)}")
    preset = _checked(raw, models)
    if preset.image and preset.image not in photos():
        picture = path.parent / preset.image
        if not picture.is_file():
            raise InputError(f"the preset's image {preset.image} is neither an example nor a file "
                             f"beside {path.name}")
        if not preset.captions:
            raise InputError("a preset with a picture of its own needs captions")
        preset = replace(preset, image=str(picture.resolve()))
    return preset
