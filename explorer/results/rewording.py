"""What became of the captions, as HTML: the changed words marked, and a warning where they say
something else now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from explorer.results.verdicts import class_word_note
from explorer.results.views import caption_diff, diff_words, esc, table

if TYPE_CHECKING:
    from explorer.attacks.result import Result


def wording(result: Result) -> str:
    """The true caption with its changes; empty for an attack on the photo alone."""
    if result.kind == "image":
        return ""
    clean, now = result.own_captions()
    told = f"Caption {diff_words(clean, now)}"
    note = class_word_note(result)
    return (f'<p class="rx-wording" aria-label="{esc(told)}">Caption: <span class="rx-diff">'
            f"{caption_diff(clean, now)}</span></p>"
            + (f'<p class="rx-note rx-warn">{esc(note)}</p>' if note else "")
            + _source(result) + _others(result))


def _source(result: Result) -> str:
    """Where the words came from."""
    if result.settings.get("text_attack", result.attack) != "bert":
        return ""
    from explorer.attacks.language.masked import masked_lm

    title = masked_lm(result.settings["model"] or None).title
    return f'<p class="rx-note">Words proposed by: {esc(title)}</p>'


def _others(result: Result) -> str:
    """All other captions that were reworded, as the paper's attack on all prompts does."""
    label = int(result.labels[0])
    moved = [(a, b) for k, (a, b) in enumerate(
        zip(result.captions, result.adversarial_captions[0], strict=True)) if a != b and k != label]
    if not moved:
        return ""
    rows = [[a, b] for a, b in moved]
    said = f"{len(moved)} other caption{'s were' if len(moved) > 1 else ' was'} reworded too"
    return (f'<details class="rx-table"><summary>{esc(said)}</summary>'
            f'{table(["Before", "After"], rows, said)}</details>')
