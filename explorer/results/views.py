"""Results as words, pictures and HTML: pure functions, used by the app and reports.

Pictures are PNGs, so what a browser shows is exactly what was measured. Everything that
comes from a person is escaped. Never imports torch or Gradio.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from explorer.base.words import char_diff, characters_changed, word_diff

if TYPE_CHECKING:
    from explorer.attacks.result import Result

MOST_BARS = 8
Keep = Callable[[bytes, str], str]  # a file and its media type -> an address that a page can name


def esc(text: object) -> str:
    """Text for HTML; braces and dollars too, which the page's templates would read."""
    safe = html.escape(str(text))
    return safe.replace("{", "&#123;").replace("}", "&#125;").replace("$", "&#36;")


def progress_bar(label: str, done: int = 0, total: int = 0) -> str:
    """How far something is; without a total, that it goes on. label: for who does not see it."""
    reached = f'max="{total}" value="{done}" ' if total else ""
    return f'<progress {reached}aria-label="{esc(label)}"></progress>'


def status_line(text: str, after: str = "", error: bool = False, lang: str = "") -> str:
    """One line that says how something stands, also to who does not see it. after: HTML."""
    role, kind = ("alert", " rx-error") if error else ("status", "")
    of = f' lang="{esc(lang)}"' if lang else ""
    return f'<p class="rx-status{kind}" role="{role}"{of}>{esc(text)}{after and f" {after}"}</p>'


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


def inline(raw: bytes, mime: str) -> str:
    """A file as a data URI: a page that holds it needs no server."""
    return f"data:{mime};base64,{base64.b64encode(raw).decode()}"


def jpeg_of(path: Path) -> str:
    """A JPEG file as a data URI, or "" where there is none."""
    try:
        return inline(path.read_bytes(), "image/jpeg")
    except OSError:
        return ""


def png_uri(array: np.ndarray) -> str:
    """(H, W, 3) uint8 -> a PNG data URI."""
    return inline(png(array), "image/png")


def png(array: np.ndarray) -> bytes:
    """(H, W, 3) uint8 -> a PNG. A page is drawn several times while it grows."""
    return _png(array.tobytes(), array.shape)


@lru_cache(maxsize=96)
def _png(levels: bytes, shape: tuple[int, ...]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.frombuffer(levels, np.uint8).reshape(shape)).save(
        buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def perturbation(clean: Any, adversarial: Any) -> tuple[np.ndarray, int]:
    """The change, centred on grey and magnified to fill the range: (H, W, 3) uint8, factor.

    A factor of 127 shows one grey level as black or white; 1 when nothing changed.
    """
    delta = levels(adversarial).astype(int) - levels(clean).astype(int)
    top = int(np.abs(delta).max(initial=0))
    factor = 127 // top if top else 1
    return (128 + delta * max(factor, 1)).clip(0, 255).astype(np.uint8), max(factor, 1)


def counted(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


def settings_line(result: Result, row: int = 0) -> str:
    """Achieved distances, steps and seconds, in words."""
    parts = []
    if result.kind != "text":
        covered = result.settings.get("norm") == "area"
        parts += [f"{float(result.covered[row]) * 100:.1f} % of the area"] if covered else [
            f"L∞ {int(result.linf_255[row])}/255", f"L2 {float(result.l2[row]):.2f}"]
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


def table(head: Sequence[str], rows: Sequence[Sequence[object]], caption: str) -> str:
    """An HTML table of escaped cells with a caption for screen readers."""
    tops = "".join(f'<th scope="col">{esc(cell)}</th>' for cell in head)
    lines = "".join(
        "<tr>" + "".join(f'<th scope="row">{esc(c)}</th>' if i == 0 else f"<td>{esc(c)}</td>"
                         for i, c in enumerate(line)) + "</tr>" for line in rows)
    return (f'<div class="rx-scroll" tabindex="0" role="region" aria-label="{esc(caption)}"><table>'
            f"<caption>{esc(caption)}</caption><thead><tr>{tops}</tr></thead>"
            f"<tbody>{lines}</tbody></table></div>")
