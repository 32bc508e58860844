"""Which option of a lesson's prediction is right, from the numbers of its demonstration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Facts = Mapping[str, Any]


def _cosine(facts: Facts) -> int:
    """Above 0.9, 0.5 to 0.9, below 0.5."""
    best = float(facts["best_cosine"])
    return 0 if best > 0.9 else 1 if best >= 0.5 else 2


def _unseen(facts: Facts) -> int:
    """Still right; another caption without confidence; another one, above 90 %."""
    return 0 if facts["right"] else 1 if float(facts["sure"]) < 0.9 else 2


def _noise(facts: Facts) -> int:
    """The attack's answer, the right answer, yet another one."""
    return 1 if facts["right"] else 0 if facts["now"] == facts["attack_now"] else 2


def _flip(facts: Facts) -> int:
    """The robust model flips at 1 grey level or less, at 2 to 3, at 4 or more, or not at all."""
    level = int(facts["robust_level"])
    return 2 if level < 0 or level >= 4 else 0 if level <= 1 else 1


def _words(facts: Facts) -> int:
    """The attack takes: a word beside the point, the word that names the class, nothing."""
    if facts["bert_now"] == facts["clean"]:
        return 2
    return 1 if facts["bert_lost"] else 0


def _both(facts: Facts) -> int:
    return ("only_photo", "only_caption", "together").index(str(facts["robust_worst"]))


def _training(facts: Facts) -> int:
    """Accuracy on clean photos rises, stays, falls; from the cards, else from the photos."""
    kind = "card_clean" if "standard_card_clean" in facts else "clean_share"
    before, after = float(facts[f"standard_{kind}"]), float(facts[f"robust_{kind}"])
    return 0 if after > before else 1 if after == before else 2


def _honest(facts: Facts) -> int:
    """Rounding made it robust; the attack was blind; rounding changed nothing."""
    seen = int(facts["blind_pgd"])
    other = max(int(facts["blind_square"]), int(facts["blind_transfer"]))
    if seen >= other > 0:
        return 2
    return 1 if other > seen else 0


def _compressed(facts: Facts) -> int:
    """Compression holds against who knows of it; he wins back half or more; it never helped."""
    plain, blind, known = (int(facts[k]) for k in ("plain", "jpeg", "jpeg_known"))
    if blind >= plain:
        return 2
    return 1 if 2 * (known - blind) >= plain - blind else 0


def _everything(facts: Facts) -> int:
    """The answer changes on less than a third of the photos, on up to two thirds, on more."""
    share = float(facts["share"])
    return 0 if share < 1 / 3 else 1 if share <= 2 / 3 else 2


RIGHT: Mapping[int, Callable[[Facts], int]] = {
    1: _cosine, 2: _unseen, 3: _noise, 4: _flip, 5: _words, 6: _both, 7: _training, 8: _honest,
    9: _compressed, 10: _everything}


def right(lesson: int, facts: Facts) -> int:
    """Index of the right option."""
    return RIGHT[lesson](facts)
