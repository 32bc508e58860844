"""What a page opens with, from its address or a teacher's file: see docs/teaching.md.

An address holds settings, and words that whoever made it typed; no picture, and nothing that this
server keeps of anybody.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from explorer.attacks.goals import GOALS
from explorer.attacks.image.perturbation import SHIPPED
from explorer.attacks.language.masked import BERT, EMBEDDED
from explorer.attacks.registry import USUAL, Attack, attack_of, kind_of, name_of, settings_of
from explorer.attacks.request import Request
from explorer.base.errors import InputError
from explorer.data.examples import load_examples
from explorer.data.pairs import MAX_CAPTION, clean_captions
from explorer.lessons.texts import COUNT, LANGUAGES

TABS = ("attack", "space", "train", "failures", "evaluate", "learn")
LIST = "|"  # between captions in an address
OWN = "own"  # for the image: whoever opens the page is to choose one of theirs
FIELDS = ("lang", "tab", "lesson", "hide", "standard", "robust", "image", "captions", "true",
          "kind", "attack", "settings", "goal", "target", "seed")
LANGUAGE_NAMES = ("", EMBEDDED, BERT)


@dataclass(frozen=True)
class Preset:
    """Empty fields change nothing. hide: ids of tabs; image: id of an example, OWN, or in a file a
    picture's path; captions: of the photo; true: the true one, the first where empty; kind, attack,
    settings: as attack_of takes them."""

    lang: str = ""
    tab: str = ""
    lesson: int = 0
    hide: tuple[str, ...] = ()
    standard: str = ""
    robust: str = ""
    image: str = ""
    captions: tuple[str, ...] = ()
    true: str = ""
    kind: str = ""
    attack: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    goal: str = ""
    target: str = ""
    seed: int = 0

    @property
    def attacks(self) -> bool:
        """Whether the Attack tab is set to something of its own."""
        return bool(self.image or self.captions or self.standard or self.robust or self.attack)

    def made(self) -> Attack | None:
        """The attack that is set, or None."""
        return attack_of(self.kind, self.attack, self.settings) if self.attack else None

    def over(self, base: Preset) -> Preset:
        """This one, with the fields of `base` where it has none. A photo comes with its own
        captions, so those of `base` do not join it."""
        mine = {name: getattr(self, name) for name in FIELDS if getattr(self, name)}
        if self.image and not self.captions:
            mine |= {"captions": (), "true": ""}
        if self.attack:
            mine |= {"kind": self.kind, "settings": self.settings}
        return replace(base, **mine)


def _known(value: str, known: Any, what: str) -> str:
    if value and value not in known:
        raise InputError(f"a preset's {what} must be one of {', '.join(known)}, not "
                         f"'{value[:40]}'")
    return value


def _number(raw: Any, what: str = "lesson", low: int = 1, high: int = COUNT) -> int:
    try:
        number = int(raw or 0)
    except (TypeError, ValueError, OverflowError):
        number = -1
    if not 0 <= number <= high:
        raise InputError(f"a preset's {what} must be a number from {low} to {high}, not "
                         f"'{str(raw)[:40]}'")
    return number


def _attack(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an attack, once it is known that they make one."""
    settings = raw.get("settings") or {}
    plain = isinstance(settings, dict) and all(
        isinstance(v, str | int | float | bool) for v in settings.values())
    if not plain:
        raise InputError("a preset's settings must be names with numbers, texts, true or false")
    if settings.get("perturbation", SHIPPED[0]) not in SHIPPED:
        raise InputError(f"a preset's perturbation must be one of {', '.join(SHIPPED)}")
    if settings.get("model", "") not in LANGUAGE_NAMES:
        raise InputError(f"a preset's language model must be {EMBEDDED} or {BERT}")
    kind, name = str(raw.get("kind") or ""), str(raw.get("attack") or "")
    found = {"kind": kind, "attack": name, "settings": settings,
             "goal": _known(str(raw.get("goal") or ""), GOALS, "goal"),
             "target": str(raw.get("target") or "")[:MAX_CAPTION],
             "seed": _number(raw.get("seed"), "seed", 0, 2**31 - 1)}
    if ":" in name:
        raise InputError("a preset cannot name a recipe of TextAttack: some of them fetch models")
    if name:
        attack_of(kind, name, settings)
    elif kind or settings:
        raise InputError("a preset with a kind or settings needs the attack's name too")
    return found


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
        captions, true, **_attack(raw))


def from_query(query: Mapping[str, str], models: Any) -> Preset:
    """The preset in an address: ?lesson=3&tab=learn&hide=train|space&captions=a cat|a dog.

    models: ids that may be named. Fields it does not know are left alone, since others use the
    address too. Raises InputError for a wrong value.
    """
    raw: dict[str, Any] = {k: query[k] for k in FIELDS if query.get(k)}
    for name in ("captions", "hide"):
        if name in raw:
            raw[name] = (_plain(raw[name], name) if raw[name].startswith("[") else
                         [part.strip() for part in raw[name].split(LIST) if part.strip()])
    if "settings" in raw:
        raw["settings"] = _plain(raw["settings"], "settings")
    preset = _checked(raw, models)
    _known(preset.image, [*load_examples(), OWN], "image")
    return preset


def _plain(text: str, what: str) -> Any:
    """JSON in an address."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise InputError(f"a preset's {what} cannot be read as JSON: '{text[:40]}'") from None


def to_query(image: str, captions: Sequence[str], true: str, models: Sequence[str],
             attack: Attack, goal: str, target: str = "", seed: int = 0) -> str:
    """The address that `from_query` reads back, from "?" on. image: id of an example, or "" for
    a person's own, which stays with them; what is as it always is stays out.
    "" for a recipe of TextAttack, which no address may name, and for a perturbation of one's own.
    """
    kind, name = kind_of(attack), name_of(attack)
    own = settings_of(attack)
    if ":" in name or own.get("perturbation", SHIPPED[0]) not in SHIPPED:
        return ""
    settings = _unusual(kind, name, own)
    listed = (json.dumps(list(captions), ensure_ascii=False, separators=(",", ":"))
              if any(LIST in c or c.startswith("[") for c in captions) else LIST.join(captions))
    fields = {"tab": "attack", "image": image or OWN, "captions": listed, "true": true,
              "standard": models[0], "robust": models[-1], "kind": kind, "attack": name,
              "settings": json.dumps(settings, separators=(",", ":")) if settings else "",
              "goal": "" if goal == "classification" else goal, "target": target,
              "seed": str(seed) if seed else ""}
    return "?" + urlencode({k: v for k, v in fields.items() if v})


def _unusual(kind: str, name: str, own: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that are not what they would be anyway."""
    halves = {k: own[k] for k in ("image_attack", "text_attack", "norm") if k in own}
    usual = {**settings_of(attack_of(kind, name, halves)), "norm": "linf",
             "image_attack": USUAL["image"], "text_attack": USUAL["text"]}
    free = settings_of(attack_of(kind, name, {k: v for k, v in own.items() if k != "step"}))
    return {k: v for k, v in own.items()
            if v != usual.get(k) and not (k == "step" and v == free[k])}


def link(request: Request) -> str:
    """An address with what was asked for; a person's own photo is not in it. Raises InputError."""
    asked = request.worded()
    known = {example.alt: example.id for example in load_examples().values()}
    captions, target = asked.captions, asked.target
    return to_query(known.get(asked.alt, ""), captions, captions[int(asked.true[0])], asked.models,
                    asked.attack, asked.goal, "" if target is None else captions[int(target)],
                    asked.seed)


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
    if preset.image and preset.image not in (*load_examples(), OWN):
        picture = path.parent / preset.image
        if not picture.is_file():
            raise InputError(f"the preset's image {preset.image} is neither an example nor a file "
                             f"beside {path.name}")
        if not preset.captions:
            raise InputError("a preset with a picture of its own needs captions")
        preset = replace(preset, image=str(picture.resolve()))
    return preset
