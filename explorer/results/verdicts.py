"""What became of a picture or a pair, in a sentence: pure functions of a result.

Never imports torch or Gradio.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from explorer.base.words import class_words, foreign, words
from explorer.results.outcome import Flip
from explorer.results.views import percent

if TYPE_CHECKING:
    from explorer.attacks.result import Reading, Result

ENGLISH_ONLY = ("bert", "synonym", "hotflip")


def behind(result: Result) -> str:
    """" behind jpeg (the attacker knows it)"; "" where there is no defence."""
    if result.defence is None:
        return ""
    return f" behind {result.defence['name']}{' (the attacker knows it)' * result.aware}"


def quoted(result: Result, index: int) -> str:
    return f"“{result.captions[index]}”"


def quoted_now(result: Result, index: int, row: int, step: int | None = None) -> str:
    """A caption as the attacked model met it, after the attack or at a recorded step."""
    text = result.adversarial_captions[row][index]
    if step is not None:
        own = index == int(result.labels[row])
        text = result.frame_captions[step] if own else result.captions[index]
    return f"“{text}”"


def verdict(result: Result, row: int = 0, step: int | None = None) -> tuple[str, str]:
    """(kind, sentence) for image `row`; kind is fooled, held, wrong or unchanged.

    step: a recorded moment of row 0 to judge instead of what came out.
    """
    if step is None and not bool(result.changed[row]):
        return "unchanged", _unchanged(result, row)
    after, at = result.adversarial, row
    if step is not None:
        assert result.trail is not None
        after, at = result.trail, step
    if result.goal == "similarity":
        return (_drift if result.targets is None else _nearer)(result, after, at, row)
    if result.goal == "embedding":
        return _moved(result, after, at, row, step)
    return _classified(result, after, at, row, step)


def _unchanged(result: Result, row: int) -> str:
    settings = result.settings
    wordless = result.kind == "image" or 0 in (settings.get("words"), settings.get("characters"))
    still = result.kind == "text" or settings["eps"] == 0
    if wordless and still:
        return "Nothing changed: the budget is zero."
    if not wordless and result.tried == 0:
        name = result.settings.get("text_attack", result.attack)
        if name in ENGLISH_ONLY and foreign(result.own_captions(row)[0]):
            return ("Nothing changed: this attack knows English words only, and the caption has "
                    "none (the attack character works on any script).")
        if any(note.endswith("not seen.") for note in result.notes):
            return ("Nothing changed: the model does not see a word that this attack may exchange, "
                    "as it does not read the caption to its end.")
        return ("Nothing changed: the caption has no word that this attack may exchange (stop "
                "words stay, and so do words it finds no replacement for).")
    if not wordless and result.refused == result.tried:
        return (f"Nothing changed: the constraints ruled out all {result.tried} candidate "
                "captions.")
    if still:
        return (f"Nothing changed: none of {result.tried} candidate captions is better for the "
                "attacker than the clean one.")
    if result.settings["norm"] == "linf" and result.settings["eps"] < 1 / 255:
        return ("Nothing changed: the budget is below one grey level (1/255), the smallest change "
                "an 8-bit picture can hold.")
    if result.settings["norm"] == "l2" and result.kind != "text":
        each = 255 * result.settings["eps"] / result.images[row].numel() ** 0.5
        if result.settings["eps"] < 1 / 255:
            return ("Nothing changed: the budget is below an L2 of 1/255, one grey level in one "
                    "value, the smallest change an 8-bit picture can hold.")
        if each < 0.5:
            return (f"Nothing changed: spread over the picture, an L2 of "
                    f"{result.settings['eps']:.3g} is {each:.2g} of a grey level a value, and "
                    "rounding to 8 bits undoes that.")
    if not bool(result.correct_before[row]) and result.targets is None:
        return f"Nothing changed. {_wrong_before(result, row)}."
    return "Nothing changed: the attack found nothing better than the clean picture."


def clean_wrong(result: Result, row: int = 0) -> bool:
    """Whether a model reads the clean picture and captions wrong, where that is asked."""
    return result.goal == "classification" and not bool(result.correct_before[row])


def _wrong_before(result: Result, row: int) -> str:
    said = int(result.clean.prediction[row])
    p = percent(float(result.clean.probabilities[row, said]))
    return f"Wrong before the attack: says {quoted(result, said)} {p}"


def _classified(result: Result, after: Reading, at: int, row: int, step: int | None,
                ) -> tuple[str, str]:
    label, was = int(result.labels[row]), int(result.clean.prediction[row])
    now = int(after.prediction[at])
    p_was = percent(float(result.clean.probabilities[row, was]))
    p_now = percent(float(after.probabilities[at, now]))
    here = quoted_now(result, now, row, step)
    moved = f"{quoted(result, was)} {p_was} → {here} {p_now}"
    if result.targets is not None:
        target = int(result.targets[row])
        if was == target:
            return "wrong", f"Said the target before the attack: {moved}."
        if now == target:
            return "fooled", f"Fooled into the target: {moved}."
        if now != was:
            return "held", f"Not the target, but changed: {moved}."
        p = percent(float(after.probabilities[at, target]))
        return "held", f"Held: still {here}, {p_was} → {p_now}; the target has {p}."
    if was != label:
        return "wrong", f"{_wrong_before(result, row)}; now {here} {p_now}."
    if now != label:
        return "fooled", f"Fooled: {moved}."
    return "held", f"Held: still {here}, {p_was} → {p_now}."


def _drift(result: Result, after: Reading, at: int, row: int) -> tuple[str, str]:
    label = int(result.labels[row])
    was, now = float(result.clean.cosines[row, label]), float(after.cosines[at, label])
    fooled = now < 0.5 * max(was, 0.0)
    word = "Torn apart" if fooled else "Held"
    return ("fooled" if fooled else "held",
            f"{word}: cosine to {quoted(result, label)} {was:.2f} → {now:.2f} "
            f"(torn apart means below half of the clean value).")


def _nearer(result: Result, after: Reading, at: int, row: int) -> tuple[str, str]:
    assert result.targets is not None
    label, target = int(result.labels[row]), int(result.targets[row])
    was, now = float(result.clean.cosines[row, target]), float(after.cosines[at, target])
    own = float(after.cosines[at, label])
    won = now > own
    moved = (f"cosine to {quoted(result, target)} {was:.2f} → {now:.2f}; the true caption has "
             f"{own:.2f}.")
    if was > float(result.clean.cosines[row, label]):
        return "wrong", f"Nearer to the target before the attack: {moved}"
    return ("fooled", f"Nearer to the target: {moved}") if won else (
        "held", f"Held: still nearer to the true caption: {moved}")


def _moved(result: Result, after: Reading, at: int, row: int, step: int | None,
           ) -> tuple[str, str]:
    def degrees(cosine: float) -> float:
        return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))

    image = degrees(float((result.clean.features[row] * after.features[at]).sum()))
    said = [f"the image embedding turned by {image:.0f}°"] if result.kind != "text" else []
    text = degrees(float(result.text_cosine[row])) if step is None else 0.0
    if result.kind != "image" and step is None:
        said.append(f"the caption's by {text:.0f}°")
    was, now = int(result.clean.prediction[row]), int(after.prediction[at])
    tail = f"the nearest caption is {'now' if now != was else 'still'} " + quoted_now(
        result, now, row, step)
    fooled = max(image, text) > 60
    body = " and ".join(said) or "the caption is being reworded"
    return ("fooled" if fooled else "held",
            f"{'Moved' if fooled else 'Held'}: {body}; {tail} (moved means over 60°).")


def before(result: Result) -> str:
    said = int(result.clean.prediction[0])
    p = percent(float(result.clean.probabilities[0, said]))
    return f"Before the attack: {quoted(result, said)} {p}."


def flip_sentence(flip: Flip | None, targeted: bool = False) -> str:
    does = "reaches the target" if targeted else "flips the answer"
    if flip is None:
        return f"Looking for the smallest ε that {does} …"
    if flip.level is None:
        return f"No ε up to {flip.tried}/255 {does} with this attack (L∞)."
    if flip.level == 0:
        return "The answer is the attacker's before any change."
    return f"Smallest ε that {does} with this attack: L∞ {flip.level}/255."


def class_word_note(result: Result, row: int = 0) -> str:
    """A sentence when the true caption lost a word that tells it from the others, else ""."""
    clean, now = result.own_captions(row)
    label = int(result.labels[row])
    own = class_words(result.captions)[label]
    left = {w.lower() for w in words(now)}
    lost = sorted(w for w in own if w not in left)
    misspelt = result.settings.get("text_attack", result.attack) in ("character", "typo")
    if clean == now or not lost or misspelt:
        return ""
    return (f"The attack took away {' and '.join(f'“{w}”' for w in lost)}, which names the class: "
            "the caption now says something else, so part of this success is a change of meaning. "
            "“Keep the class words” rules that out.")
