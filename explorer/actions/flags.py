"""From the flags of the command line to attacks: what was not given is the attack's own default."""

from __future__ import annotations

import argparse
from dataclasses import fields
from typing import Any

from explorer.attacks.budgets import parse_eps
from explorer.attacks.image.classic import IMAGE_ATTACKS, MAX_STEPS, ImageAttack, default_step
from explorer.attacks.joint import JOINT_ATTACKS, JointAttack
from explorer.attacks.run import Attack
from explorer.attacks.text.base import TextAttack
from explorer.attacks.text.classic import TEXT_ATTACKS
from explorer.base.errors import InputError

DEFAULT_EPS = {"linf": "1/255", "l2": "0.5"}
RECIPE = "textattack:"


def make_attack(args: argparse.Namespace, kind: str, name: str | None) -> Attack:
    """The attack of a kind ("image", "text", "joint") and registry name (None: the usual one)."""
    if kind == "image":
        return image_attack(args, name or "pgd")
    if kind == "text":
        return text_attack(args, name or "bert")
    return joint_attack(args, name or "separate")


def kind_named(name: str) -> str:
    """The kind of attack a registry name belongs to. Raises InputError for an unknown one."""
    for kind, registry in (("image", IMAGE_ATTACKS), ("text", TEXT_ATTACKS),
                           ("joint", JOINT_ATTACKS)):
        if name in registry:
            return kind
    if name.startswith(RECIPE):
        return "text"
    raise InputError(f"there is no attack '{name}'; known are "
                     f"{', '.join([*IMAGE_ATTACKS, *TEXT_ATTACKS, *JOINT_ATTACKS])}")


def _known(name: str, registry: dict[str, Any], kind: str) -> Any:
    if name not in registry:
        raise InputError(f"there is no {kind} attack '{name}'; known are {', '.join(registry)}")
    return registry[name]


def image_attack(args: argparse.Namespace, name: str) -> ImageAttack:
    """The image attack of a name. --steps and --step are checked even where it has none."""
    kind: type[ImageAttack] = _known(name, IMAGE_ATTACKS, "image")
    has = {field.name for field in fields(kind)}
    eps = parse_eps(DEFAULT_EPS[args.norm] if args.eps is None else args.eps)
    values: dict[str, Any] = {"eps": eps, "norm": args.norm}
    steps = args.paper_steps if args.steps is None and args.preset else args.steps
    if steps is not None and not 1 <= steps <= MAX_STEPS:
        raise InputError(f"steps must be a whole number from 1 to {MAX_STEPS}, not {steps}")
    if "steps" in has and steps is not None:
        values["steps"] = steps
    step = _step(args, eps, steps or getattr(kind, "steps", 1))
    if "step" in has:
        values["step"] = step
    return kind(**values)


def _step(args: argparse.Namespace, eps: float, steps: int) -> float:
    if args.step is None:
        return 1 / 255 if args.preset else default_step(eps, args.norm, steps)
    try:
        step = parse_eps(args.step)
    except InputError:
        step = 0.0
    if step <= 0:
        raise InputError(f"the step size must be a number above 0, such as 1/255, not "
                         f"'{args.step}'")
    return step


def text_attack(args: argparse.Namespace, name: str) -> TextAttack:
    """The text attack of a name, or of textattack:RECIPE; --words and the like where it has
    them."""
    given = {"words": args.words, "characters": args.chars, "similarity": args.similarity,
             "protect": args.protect or None, "objective": args.objective,
             "captions": args.text_captions, "model": args.masked_lm}
    kind: type[TextAttack]
    if name.startswith(RECIPE):
        from explorer.attacks.text.recipes import Recipe

        kind, given["recipe"] = Recipe, name.removeprefix(RECIPE)
        if not given["recipe"]:
            raise InputError(f"name a recipe of TextAttack, such as {RECIPE}{Recipe.recipe}")
    else:
        kind = _known(name, TEXT_ATTACKS, "text")
    has = {field.name for field in fields(kind)}
    return kind(**{k: v for k, v in given.items() if v is not None and k in has})


def joint_attack(args: argparse.Namespace, name: str) -> JointAttack:
    """The joint attack of a name; its halves are --image-attack and --text-attack."""
    kind: type[JointAttack] = _known(name, JOINT_ATTACKS, "joint")
    has = {field.name for field in fields(kind)}
    own = {"rounds": args.rounds, "alpha": args.alpha}
    return kind(image=image_attack(args, args.image_attack or "pgd"),
                text=text_attack(args, args.text_attack or "bert"),
                **{k: v for k, v in own.items() if v is not None and k in has})
