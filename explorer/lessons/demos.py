"""The demonstration of each lesson, what it starts with, and what may be chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from explorer.base.errors import InputError
from explorer.lessons.bench import Asked, Bench, photo
from explorer.lessons.captions import both, wording
from explorer.lessons.defending import compress, everything
from explorer.lessons.false_robustness import fooling
from explorer.lessons.learning import METHODS, compare
from explorer.lessons.pixels import Demo, flip, noise, sees, unseen


@dataclass(frozen=True)
class Lesson:
    """options: keys of what may be chosen, the first shown first; trains: further ones that need
    training to be on; own_caption: whether a visitor may add one."""

    run: Callable[[Bench, Asked], Demo]
    photo: str
    options: tuple[str, ...]
    trains: tuple[str, ...] = ()
    own_caption: bool = False


PLANS: Mapping[int, Lesson] = {
    1: Lesson(sees, "cat", ("own", "10", "1"), own_caption=True),
    2: Lesson(unseen, "cat", ("1", "2", "4")),
    3: Lesson(noise, "cat", ("1", "2", "4")),
    4: Lesson(flip, "cat", ("pgd", "fgsm")),
    5: Lesson(wording, "cat", ("free", "protect")),
    6: Lesson(both, "bee", ("synonym", "typo", "bert")),
    7: Lesson(compare, "cat", ("measure",), tuple(f"train-{m}" for m in METHODS)),
    8: Lesson(fooling, "cat", ("8", "4", "2")),
    9: Lesson(compress, "cat", ("75", "50", "25")),
    10: Lesson(everything, "cat", ("8", "4", "2")),
}


def demo(lesson: int, bench: Bench, asked: Asked) -> Demo:
    """Steps, then a Record. Raises InputError for a lesson, photo or option that is not there."""
    if lesson not in PLANS:
        raise InputError(f"there is no lesson {lesson}; they are numbered 1 to {len(PLANS)}")
    plan = PLANS[lesson]
    photo(asked.photo)
    if asked.option not in plan.options:
        raise InputError(f"lesson {lesson} knows {', '.join(plan.options)}, not "
                         f"'{str(asked.option)[:20]}'")
    yield from plan.run(bench, asked)
