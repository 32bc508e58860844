"""All attacks by kind and name, what stands where nothing is said, and attacks from plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Any

from explorer.attacks.amounts import parse_eps
from explorer.attacks.image.area import VisibleAttack
from explorer.attacks.image.base import ImageAttack
from explorer.attacks.image.classic import IMAGE_ATTACKS
from explorer.attacks.image.patch import Patch
from explorer.attacks.image.typographic import Typographic
from explorer.attacks.joint import JOINT_ATTACKS, JointAttack
from explorer.attacks.text.base import TextAttack
from explorer.attacks.text.classic import TEXT_ATTACKS
from explorer.base.errors import InputError
from explorer.models.naming import norm_named

Attack = ImageAttack | TextAttack | JointAttack
KINDS = ("image", "text", "joint")
VISIBLE_ATTACKS: dict[str, type[VisibleAttack]] = {"patch": Patch, "typographic": Typographic}
REGISTRIES: dict[str, dict[str, Any]] = {
    "image": {**IMAGE_ATTACKS, **VISIBLE_ATTACKS}, "text": TEXT_ATTACKS, "joint": JOINT_ATTACKS,
}

USUAL = {"image": "pgd", "text": "bert", "joint": "alternating"}
"""The attack of each kind where none is named, whatever door the question comes in by. Of the joint
ones it is that which is never weaker than either half: a default must not flatter a model."""
RECIPE = "textattack:"


def kind_of(attack: Attack) -> str:
    """ "image", "text" or "joint"."""
    if isinstance(attack, JointAttack):
        return "joint"
    return "text" if isinstance(attack, TextAttack) else "image"


def name_of(attack: Attack) -> str:
    """The registry name of an attack."""
    named = getattr(attack, "recipe", None)
    if named:
        return f"textattack:{named}"
    registry = REGISTRIES[kind_of(attack)]
    return next(name for name, kind in registry.items() if kind is type(attack))


def settings_of(attack: Attack) -> dict[str, Any]:
    """The settings as plain data, with what they come to where nobody set them; those of a joint
    attack's halves among its own."""
    if not isinstance(attack, JointAttack):
        own = asdict(attack)
        if "step" in own and isinstance(attack, ImageAttack):
            own["step"] = attack.step_size
        return own
    own = {k: v for k, v in asdict(attack).items() if k not in ("image", "text")}
    return {"image_attack": name_of(attack.image), "text_attack": name_of(attack.text),
            **settings_of(attack.image), **settings_of(attack.text), **own}


def attack_of(kind: str, name: str, settings: Mapping[str, Any]) -> Attack:
    """The attack of a kind and registry name with these settings; entries that it does not have
    are left out. Raises InputError for unknown names and values outside the rules."""
    kind, name = kind.lower(), registered(name)
    if kind not in KINDS:
        raise InputError(f"there is no kind of attack '{kind}'")
    if kind == "joint":
        own = _take(_class(kind, name), settings, ("image", "text"))
        image = attack_of("image", str(settings.get("image_attack", USUAL["image"])), settings)
        text = attack_of("text", str(settings.get("text_attack", USUAL["text"])), settings)
        joint: Attack = _make(_class(kind, name), {**own, "image": image, "text": text})
        return joint
    found = _class(kind, name)
    values = _take(found, settings)
    if name.startswith(RECIPE):
        values["recipe"] = name.removeprefix(RECIPE)
    return _make(found, values)


def registered(name: str) -> str:
    """An attack's name as the registries have it: "PGD", "MI_FGSM" and "Co Attack" are names."""
    if name.lower().startswith(RECIPE):
        return RECIPE + name[len(RECIPE):]
    low = name.strip().lower()
    return low if any(low in known for known in REGISTRIES.values()) else (
        low.replace("_", "-").replace(" ", "-"))


def kind_named(name: str) -> str:
    """The kind that a registry name belongs to. Raises InputError for an unknown one."""
    name = registered(name)
    if name.startswith(RECIPE):
        return "text"
    for kind, registry in REGISTRIES.items():
        if name in registry:
            return kind
    known = [*USUAL, *(name for registry in REGISTRIES.values() for name in registry)]
    raise InputError(f"there is no attack '{name[:60]}'; known are {', '.join(known)}")


def make_attack(kind: str, name: str | None = None, settings: Mapping[str, Any] | None = None,
                ) -> Attack:
    """The attack of a kind and registry name (None: the usual one) with settings of its own; eps
    and step may be texts such as "4/255". What is not set is the attack's own default.

    Raises InputError for anything else, settings that the attack does not have included.
    """
    if not isinstance(kind, str) or kind.strip().lower() not in KINDS:
        raise InputError(f"kind must be one of image, text, joint, not '{str(kind)[:60]}'")
    kind = kind.strip().lower()
    values = {k: parse_eps(v) if k in ("eps", "step") and v is not None else v
              for k, v in (settings or {}).items()}
    try:
        attack = attack_of(kind, name or USUAL[kind], values)
    except InputError:
        raise
    except (TypeError, ValueError, OverflowError):  # such as a text where a number belongs
        raise InputError("the settings of the attack are of the wrong type") from None
    has = settings_of(attack)
    if unknown := values.keys() - has.keys():
        raise InputError(f"the attack {name_of(attack)} has no setting "
                         f"{', '.join(sorted(unknown))}; it has {', '.join(has)}")
    return attack


def _class(kind: str, name: str) -> type[Any]:
    if kind == "text" and name.startswith(RECIPE):
        from explorer.attacks.text.recipes import TextAttackRecipe

        return TextAttackRecipe
    if name not in REGISTRIES[kind]:
        raise InputError(f"there is no {kind} attack '{name[:40]}'; known are "
                         f"{', '.join(REGISTRIES[kind])}")
    found: type[Any] = REGISTRIES[kind][name]
    return found


def _take(found: type[Any], settings: Mapping[str, Any], leave: tuple[str, ...] = (),
          ) -> dict[str, Any]:
    names = [f.name for f in fields(found) if f.name not in leave]
    taken = {name: settings[name] for name in names if name in settings}
    norm = taken.get("norm")
    if isinstance(norm, str | int | float) and not isinstance(norm, bool):
        taken["norm"] = norm_named(norm if isinstance(norm, str) else f"{norm:g}")  # 2, inf
    return taken


def _make(found: type[Any], values: dict[str, Any]) -> Attack:
    try:
        attack: Attack = found(**values)
    except (TypeError, AttributeError):
        raise InputError(f"the settings of {found.__name__} are of the wrong type") from None
    if isinstance(attack, ImageAttack) and values.get("step") is not None:
        free: Attack = replace(attack, step=None)  # type: ignore[call-arg]
        if isinstance(free, ImageAttack) and free.step_size == attack.step_size:
            return free  # nobody set it: it follows the budget
    return attack
