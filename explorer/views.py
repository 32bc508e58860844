"""Results as words, pictures and HTML: pure functions, used by the app and reports.

Pictures are PNG data URIs, so what a browser shows is exactly what was measured. Everything that
comes from a person is escaped. Never imports torch or Gradio.
"""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image

from explorer.language.text import char_diff, characters_changed, class_words, word_diff, words
from explorer.metrics import Flip
from explorer.result import Reading, Result

MOST_BARS = 8


def esc(text: object) -> str:
    """Text for HTML; braces and dollars too, which the page's templates would read."""
    safe = html.escape(str(text))
    return safe.replace("{", "&#123;").replace("}", "&#125;").replace("$", "&#36;")


def percent(p: float) -> str:
    """A probability for a person: 93 %, 0.4 %, <0.1 %."""
    if p >= 0.995:
        return "100 %"
    if p >= 0.0995:
        return f"{p * 100:.0f} %"
    return f"{p * 100:.1f} %" if p >= 0.0005 else "<0.1 %"


def signed(cosine: float) -> str:
    """A cosine with two digits and a true minus sign; never "-0.00"."""
    text = f"{cosine:.2f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", "−")


def shared_start(captions: Sequence[str]) -> str:
    """The words, with the space after them, that all captions begin with."""
    words = [c.split() for c in captions]
    if len(words) < 2:
        return ""
    n = 0
    shortest = min(len(w) for w in words)
    while n < shortest - 1 and len({w[n] for w in words}) == 1:
        n += 1
    return " ".join(words[0][:n]) + " " if n else ""


def levels(pixels: Any) -> np.ndarray:
    """(3, H, W) in [0, 1] on the 8-bit grid -> (H, W, 3) uint8."""
    array = np.asarray(pixels, dtype=np.float64)
    return np.rint(array * 255).clip(0, 255).astype(np.uint8).transpose(1, 2, 0)


def png_uri(array: np.ndarray) -> str:
    """(H, W, 3) uint8 -> a PNG data URI. A page is drawn several times while it grows."""
    return _png_uri(array.tobytes(), array.shape)


@lru_cache(maxsize=96)
def _png_uri(levels: bytes, shape: tuple[int, ...]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(np.frombuffer(levels, np.uint8).reshape(shape)).save(
        buffer, "PNG", compress_level=3)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def perturbation(clean: Any, adversarial: Any) -> tuple[np.ndarray, int]:
    """The change, centred on grey and magnified to fill the range: (H, W, 3) uint8, factor.

    A factor of 127 shows one grey level as black or white; 1 when nothing changed.
    """
    delta = levels(adversarial).astype(int) - levels(clean).astype(int)
    top = int(np.abs(delta).max(initial=0))
    factor = 127 // top if top else 1
    return (128 + delta * max(factor, 1)).clip(0, 255).astype(np.uint8), max(factor, 1)


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
    if result.goal == "similarity" and result.targets is None:
        return _drift(result, after, at, row)
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
    if not bool(result.correct_before[row]) and result.targets is None:
        return f"Nothing changed. {_wrong_before(result, row)}."
    return "Nothing changed: the attack found nothing better than the clean picture."


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


def counted(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


def settings_line(result: Result, row: int = 0) -> str:
    """Achieved distances, steps and seconds, in words."""
    parts = []
    if result.kind != "text":
        parts += [f"L∞ {int(result.linf_255[row])}/255", f"L2 {float(result.l2[row]):.2f}"]
    if result.kind != "image":
        parts += [f"{counted(int(result.words_changed[row]), 'word')} and "
                  f"{counted(int(result.characters_changed[row]), 'character')} changed"]
    if "steps" in result.settings:
        parts.append(f"{result.settings['steps']} steps")
    parts += [f"{result.queries} queries", f"{result.seconds:.1f} s"]
    if result.kind != "text":
        parts.append(f"cosine of the two image embeddings {float(result.image_cosine[row]):.2f}")
    if result.kind != "image":
        lead = "of the two" if result.kind == "joint" else "cosine of the two"
        parts.append(f"{lead} caption embeddings {signed(float(result.text_cosine[row]))}")
    return " · ".join(parts)


def caption_diff(clean: str, now: str, quotes: bool = True) -> str:
    """A caption with what was deleted and inserted marked, word by word, for HTML; letter by
    letter where no more than two changed."""
    if clean == now:
        return f"“{esc(now)}”" if quotes else esc(now)
    marks = {"same": "{}", "deleted": '<del class="rx-del">{}</del>',
             "inserted": '<ins class="rx-ins">{}</ins>'}
    pieces = char_diff(clean, now) if characters_changed(clean, now) <= 2 else word_diff(clean, now)
    body = "".join(marks[p.kind].replace("{}", esc(p.text)) for p in pieces)
    return f"“{body}”" if quotes else body


def diff_words(clean: str, now: str) -> str:
    """The same for a screen reader: which words went and which came."""
    if clean == now:
        return "unchanged"
    pieces = word_diff(clean, now)
    gone = " ".join(p.text.strip() for p in pieces if p.kind == "deleted") or "nothing"
    came = " ".join(p.text.strip() for p in pieces if p.kind == "inserted") or "nothing"
    return f"“{gone}” became “{came}”"


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


def shown_captions(result: Result, row: int = 0, most: int = MOST_BARS) -> list[int]:
    """The captions worth a bar: the true one, the target, then the likeliest, in given order."""
    if len(result.captions) <= most:
        return list(range(len(result.captions)))
    first = [int(result.labels[row])]
    if result.targets is not None:
        first.append(int(result.targets[row]))
    peak = np.maximum(np.asarray(result.clean.probabilities[row]),
                      np.asarray(result.adversarial.probabilities[row]))
    for index in np.argsort(-peak):
        if int(index) not in first and len(first) < most:
            first.append(int(index))
    return sorted(first)


def trail_data(result: Result) -> str:
    """JSON for the step slider: a frame, a sentence and the scores of every recorded step."""
    assert result.frames is not None and result.trail is not None
    rows = shown_captions(result)
    frames = []
    for i in range(len(result.frames)):
        one = result.trail
        last = i == len(result.frames) - 1
        kind, sentence = verdict(result) if last else verdict(result, step=i)
        if i == 0:
            kind, sentence = "before", _before(result)
        frames.append({
            "image": png_uri(levels(result.frames[i])), "step": result.frame_steps[i],
            "kind": kind, "sentence": esc(sentence),
            "p": [round(float(one.probabilities[i, k]), 5) for k in rows],
            "c": [round(float(one.cosines[i, k]), 4) for k in rows],
            "caption": caption_diff(result.own_captions()[0], result.frame_captions[i]),
        })
    return json.dumps(frames, separators=(",", ":")).replace("</", "<\\/")


def _before(result: Result) -> str:
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


def table(head: Sequence[str], rows: Sequence[Sequence[object]], caption: str) -> str:
    """An HTML table of escaped cells with a caption for screen readers."""
    tops = "".join(f'<th scope="col">{esc(cell)}</th>' for cell in head)
    lines = "".join(
        "<tr>" + "".join(f'<th scope="row">{esc(c)}</th>' if i == 0 else f"<td>{esc(c)}</td>"
                         for i, c in enumerate(line)) + "</tr>" for line in rows)
    return (f'<div class="rx-scroll" tabindex="0" role="region" aria-label="{esc(caption)}"><table>'
            f"<caption>{esc(caption)}</caption><thead><tr>{tops}</tr></thead>"
            f"<tbody>{lines}</tbody></table></div>")
