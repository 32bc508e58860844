"""From the flags of the command line to attacks: what was not given is the attack's own default."""

from __future__ import annotations

import argparse
from dataclasses import fields
from typing import Any

from explorer.attacks import registry
from explorer.attacks.amounts import parse_eps
from explorer.attacks.image.base import MAX_STEPS
from explorer.attacks.image.patch import POINT
from explorer.attacks.registry import (
    RECIPE,
    REGISTRIES,
    USUAL,
    VISIBLE_ATTACKS,
    Attack,
    registered,
)
from explorer.base.errors import InputError

PAPER = {"step": "1/255", "objective": "kl", "captions": "all"}
"""MMCoA's attacks (Zhou et al. 2024, arXiv 2404.19287, section 4.1); eps is the usual one, and how
many steps they take the command says."""
PAPER_JOINT = "separate"
FLAGS = {"eps": "eps", "norm": "norm", "steps": "steps", "step": "step", "words": "words",
         "characters": "chars", "similarity": "similarity", "objective": "objective",
         "captions": "text_captions", "model": "masked_lm", "rounds": "rounds", "alpha": "alpha",
         "perturbation": "perturbation", "place": "place", "word": "word", "size": "letters"}


def make_attack(args: argparse.Namespace, kind: str, name: str | None) -> Attack:
    """The attack of a kind ("image", "text", "joint") and registry name (None: the usual one).
    --steps and --step are checked even where it has none."""
    given = _given(args)
    if name is not None and name.startswith(RECIPE) and name == RECIPE:
        from explorer.attacks.text.recipes import TextAttackRecipe

        raise InputError(f"name a recipe of TextAttack, such as {RECIPE}{TextAttackRecipe.recipe}")
    usual = PAPER_JOINT if kind == "joint" and args.preset else USUAL[kind]
    own = registered(name) if name else usual
    if kind == "joint":
        given |= {"image_attack": args.image_attack or USUAL["image"],
                  "text_attack": args.text_attack or USUAL["text"]}
        parts = [(kind, own), ("image", registered(given["image_attack"])),
                 ("text", registered(given["text_attack"]))]
    else:
        parts = [(kind, own)]
    has = {"image_attack", "text_attack"} if kind == "joint" else set()
    for part, named in parts:
        has |= _settings(part, named)
        if named in VISIBLE_ATTACKS:
            given = _visible(args, given)
    return registry.make_attack(kind, own, {k: v for k, v in given.items() if k in has})


def _given(args: argparse.Namespace) -> dict[str, Any]:
    """The settings that the flags ask for, under the attacks' names."""
    found = {name: value for name, flag in FLAGS.items()
             if (value := getattr(args, flag, None)) is not None}
    if getattr(args, "protect", False):
        found["protect"] = True
    if args.preset:
        found = {"steps": args.paper_steps, **PAPER, **found}
    steps = found.get("steps")
    if steps is not None and not 1 <= steps <= MAX_STEPS:
        raise InputError(f"steps must be a whole number from 1 to {MAX_STEPS}, not {steps}")
    if "step" in found:
        found["step"] = _step(found["step"])
    return found


def _visible(args: argparse.Namespace, given: dict[str, Any]) -> dict[str, Any]:
    """The settings of an attack whose budget is an area: --eps and --norm are those of others."""
    found = {key: value for key, value in given.items() if key not in ("eps", "norm")}
    if (area := getattr(args, "area", None)) is not None:
        found["eps"] = area
    if getattr(args, "disc", False):
        found["disc"] = True
    if getattr(args, "no_paper", False):
        found["paper"] = False
    if (point := getattr(args, "point", None)) is not None:
        try:
            across, down = (float(part) for part in point.split(","))
        except ValueError:
            raise InputError("--point must be two shares with a comma between them, such as "
                             f"0.5,0.3, not '{point[:40]}'") from None
        found |= {"place": POINT, "across": across, "down": down}
    return found


def _step(said: str) -> float:
    try:
        step = parse_eps(said)
    except InputError:
        step = 0.0
    if step <= 0:
        raise InputError(f"the step size must be a number above 0, such as 1/255, not '{said}'")
    return step


def _settings(kind: str, name: str) -> set[str]:
    """The names of an attack's settings; of an unknown one none, which is refused later."""
    if kind == "text" and name.startswith(RECIPE):
        from explorer.attacks.text.recipes import TextAttackRecipe

        return {field.name for field in fields(TextAttackRecipe)}
    found = REGISTRIES[kind].get(name)
    return {field.name for field in fields(found)} if found is not None else set()
