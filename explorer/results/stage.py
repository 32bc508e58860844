"""The result side of the Attack tab as HTML: one column a model, and what compares them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from explorer.models.cards import Card
from explorer.results.compare import controls, halves, transfer
from explorer.results.outcome import Outcome, Part
from explorer.results.rewording import wording
from explorer.results.saving import as_dict, file_stem, json_bytes, picture_files
from explorer.results.trail import trail_data
from explorer.results.verdicts import flip_sentence, verdict
from explorer.results.views import (
    Keep,
    caption_diff,
    esc,
    inline,
    levels,
    percent,
    perturbation,
    png,
    settings_line,
    shared_start,
    shown_captions,
    signed,
    table,
)

if TYPE_CHECKING:
    from explorer.attacks.result import Result

PNG = "image/png"
MARK = {"fooled": "✗", "held": "✓", "wrong": "!", "unchanged": "="}


def draw(outcome: Outcome, keep: Keep = inline) -> str:
    """The page of an outcome. keep: takes its pictures and files, and says where they are to be
    had; by default they are part of the page."""
    columns = "".join(_column(p, outcome.alt, keep) for p in outcome.parts)
    return (f'<div class="rx-stage"><div class="rx-columns">{columns}</div>'
            f"{halves(outcome)}{transfer(outcome)}{controls(outcome)}{_case(outcome, keep)}</div>")


def _case(outcome: Outcome, keep: Keep) -> str:
    """The whole case to take along: as a zip that replays, and as a page that opens offline."""
    if outcome.bundle is None:
        return ""
    href = keep(outcome.bundle, "application/zip")
    link = (f' <a href="{esc(outcome.link)}" target="_blank" title="Holds the settings and the '
            'captions, and no photo of yours">Link to these settings</a>') if outcome.link else ""
    return ('<p class="rx-files rx-keep">Keep this case: <a download="case.zip" '
            f'href="{href}">Bundle that replays (zip)</a> <button type="button" class="rx-link" '
            f"data-page>Page that opens offline (HTML)</button>{link} <button type=\"button\" "
            'class="rx-link" data-big>Large, for an audience (F)</button></p>')


def _role(card: Card) -> str:
    return "robust" if card.kind == "robust" else "standard"


def _column(part: Part, alt: str, keep: Keep) -> str:
    role = _role(part.card)
    label = "Adversarially fine-tuned" if role == "robust" else "Standard"
    head = (f'<header class="rx-head"><span class="rx-chip">{label}</span>'
            f'<span class="rx-name">{esc(part.card.id)}</span></header>')
    if part.result is None:
        body = '<p class="rx-wait">Waiting for its turn …</p><div></div>'
    else:
        body = _body(part, part.result, alt, keep)
    name = f"{label} model {esc(part.card.id)}"
    return f'<section class="rx-model rx-{role}" aria-label="{name}">{head}{body}</section>'


def _body(part: Part, result: Result, alt: str, keep: Keep) -> str:
    found = flip_sentence(part.flip, result.targets is not None) if part.flip_searched else ""
    return "".join([
        f'<div class="rx-said">{_verdict(result)}{_suggested(result, part.live)}'
        f'{wording(result)}</div><div class="rx-rest">',
        _pictures(result, alt, _role(part.card), keep), _bars(result),
        f'<p class="rx-facts">{esc(settings_line(result))}</p>', _noise(part, keep),
        f'<p class="rx-flip">{esc(found)}</p>', _offer(result, part.live),
        _downloads(part, result, keep), _numbers(result),
        "" if result.frames is None else
        f'<script type="application/json" class="rx-trail">{trail_data(result, keep)}</script>',
        "</div>",
    ])


def _verdict(result: Result) -> str:
    kind, sentence = verdict(result)
    undone = ""
    if bool(result.raw_success[0] & ~result.success[0] & result.changed[0]):
        undone = ('<p class="rx-note">It worked before rounding to 8 bits; '
                  "the picture as saved does not.</p>")
    undone += "".join(f'<p class="rx-note">{esc(note)}</p>' for note in result.notes)
    said = re.sub(r"\S+ %", r'<span class="rx-unit">\g<0></span>', esc(sentence))
    return (f'<p class="rx-verdict rx-{kind}" aria-live="polite">'
            f'<span class="rx-mark" aria-hidden="true">{MARK[kind]}</span>'
            f'<span class="rx-say">{said}</span></p>{undone}')


def _suggested(result: Result, live: bool) -> str:
    """Captions that would fit, each to be taken over by a click."""
    if not result.suggestions or not live:
        return ""
    buttons = " ".join(
        f'<button type="button" class="rx-take" data-take="{esc(caption)}">{esc(caption)}</button>'
        for caption in result.suggestions)
    return f'<p class="rx-note">Take one over as the true caption: {buttons}</p>'


def _offer(result: Result, live: bool) -> str:
    """After "Held": one click away from the strongest attack, before anyone believes it."""
    kind, _ = verdict(result)
    strong = result.settings.get("image_attack", result.attack) == "strong"
    if kind != "held" or strong or result.kind == "text":
        return ""
    if not live:
        return '<p class="rx-note">One attack that fails proves little.</p>'
    return ('<p class="rx-note">One attack that fails proves little. <button type="button" '
            'class="rx-link" data-strong>Run the strong preset</button> or <button type="button" '
            'class="rx-link" data-signs>look for signs of gradient masking</button>.</p>')


def _slider(result: Result, role: str) -> str:
    last = max(0, len(result.frame_steps) - 1)
    total = max(result.frame_steps, default=0)
    if not result.frame_steps:
        return ""
    off = " disabled" if result.frames is None else ""  # while the run goes on
    return f"""<div class="rx-steps"><label>Step <output>{total}</output> of {total}
 <input type="range" class="rx-step" min="0" max="{last}" value="{last}" step="1"{off}
  aria-label="Step of the attack on the {role} model"></label>
 <button type="button" class="rx-play" aria-pressed="false"{off}>Play</button></div>"""


def _pictures(result: Result, alt: str, role: str, keep: Keep) -> str:
    """The attacked picture over the clean one, the change, and the slider through the steps."""
    def shown(array: np.ndarray) -> str:
        return keep(png(array), PNG)

    if result.kind == "text":
        seen = f"The photo, which this attack leaves alone: {alt}"
        return (f'<div class="rx-pictures rx-one"><figure><div class="rx-view"><img class="rx-adv" '
                f'src="{shown(levels(result.images[0]))}" alt="{esc(seen)}"></div><figcaption>'
                f"The photo stays as it is</figcaption></figure></div>{_slider(result, role)}")
    clean, adversarial = result.images[0], result.adversarial_images[0]
    change, factor = perturbation(clean, adversarial)
    seen = f"Attacked picture, {settings_line(result)}. It looks like: {alt}"
    moved = f"The change on grey, magnified {factor} times: {_change_words(result)}"
    return f"""
<div class="rx-pictures">
 <figure class="rx-compare">
  <div class="rx-view">
   <img class="rx-clean" src="{shown(levels(clean))}" alt="Clean picture: {esc(alt)}">
   <img class="rx-adv" src="{shown(levels(adversarial))}" alt="{esc(seen)}">
   <span class="rx-tag rx-tag-adv">attacked</span><span class="rx-tag rx-tag-clean">clean</span>
  </div>
  <figcaption>
   <label>Clean <input type="range" class="rx-wipe" min="0" max="100" value="100"
     aria-label="How far the attacked picture covers the clean one, {role} model"> attacked
   </label>
   <button type="button" class="rx-blink" aria-pressed="false">Blink</button>
  </figcaption>
 </figure>
 <figure>
  <div class="rx-view"><img src="{shown(change)}" alt="{esc(moved)}"></div>
  <figcaption>The change × {factor}; grey is none</figcaption>
 </figure>
</div>
{_slider(result, role)}"""


def _change_words(result: Result) -> str:
    moved = (result.adversarial_images[0] - result.images[0]).abs() > 0
    share, most = float(moved.float().mean()) * 100, int(result.linf_255[0])
    return f"{share:.0f} % of the pixel values changed, at most by {most} grey levels of 255"


def _bars(result: Result) -> str:
    rows = []
    shared = shared_start(result.captions)
    label = int(result.labels[0])
    target = None if result.targets is None else int(result.targets[0])
    for k in shown_captions(result):
        tags = ('<b class="rx-true">true</b> ' if k == label else "") + (
            '<b class="rx-target">target</b> ' if k == target else "")
        before, after = result.clean, result.adversarial
        p, q = float(before.probabilities[0, k]), float(after.probabilities[0, k])
        c, d = float(before.cosines[0, k]), float(after.cosines[0, k])
        rows.append(
            f'<div class="rx-row"><span class="rx-cap" title="{esc(result.captions[k])}">'
            f"{tags}{_named(result, k, shared)}</span>"
            f'<span class="rx-bar"><i class="rx-b" style="width:{p * 100:.2f}%"></i>'
            f'<i class="rx-a" data-p style="width:{q * 100:.2f}%"></i></span>'
            f'<span class="rx-num">{percent(p)} → <span data-pt>{percent(q)}</span></span>'
            f'<span class="rx-bar rx-cos"><i class="rx-b" style="{_cos_bar(c)}"></i>'
            f'<i class="rx-a" data-c style="{_cos_bar(d)}"></i></span>'
            f'<span class="rx-num">{signed(c)} → <span data-ct>{signed(d)}</span></span></div>')
    more = len(result.captions) - len(rows)
    rest = f'<p class="rx-note">and {more} more captions in the table below</p>' if more else ""
    return ('<div class="rx-bars" aria-hidden="true"><div class="rx-row rx-top"><span>'
            f"{esc(shared.strip() + ' …' if shared else 'caption')}</span>"
            '<span>probability</span><span class="rx-num">clean → now</span>'
            '<span>cosine</span><span class="rx-num">clean → now</span></div>'
            f'{"".join(rows)}</div>{rest}')


def _named(result: Result, k: int, shared: str) -> str:
    """A caption without the start that all share; with its changes where it was reworded."""
    clean, now = result.captions[k], result.adversarial_captions[0][k]
    if clean == now:
        return esc(clean[len(shared):])
    cut = len(shared) if now.startswith(shared) else 0
    return caption_diff(clean[cut:], now[cut:], quotes=False)


def _cos_bar(c: float) -> str:
    """A bar from the middle: cosines run from -1 to 1."""
    c = max(-1.0, min(1.0, c))
    left = 50 + min(c, 0) * 50
    return f"left:{left:.1f}%;width:{abs(c) * 50:.1f}%"


def _noise(part: Part, keep: Keep) -> str:
    if part.noise is None:
        return ""
    noise = part.noise
    _, sentence = verdict(noise)
    small = np.ascontiguousarray(levels(noise.adversarial_images[0])[::2, ::2])
    return (f'<div class="rx-noise"><img src="{keep(png(small), PNG)}" '
            f'alt="The picture with random noise of the same size"><p><b>Control.</b> Random noise '
            f"of the same size ({esc(_size(noise))}): {esc(sentence)}</p></div>")


def _size(result: Result) -> str:
    if result.settings["norm"] == "linf":
        return f"{int(result.linf_255[0])}/255"
    return f"L2 {float(result.l2[0]):.2f}"


def _downloads(part: Part, result: Result, keep: Keep) -> str:
    if not part.files:
        return ""
    stem = f"{file_stem(part.card.id)}-{result.attack}"
    names, contents = picture_files(result, stem)
    contents[f"{stem}.json"] = json_bytes(as_dict(result, 0, names))
    said = {names["clean"]: ("Clean PNG", "image/png"),
            names["adversarial"]: ("Attacked PNG", "image/png"),
            names["perturbation"]: ("Change .npy", "application/octet-stream"),
            names.get("print", ""): ("Patch to print", "image/png"),
            names.get("film", " "): ("Film of the steps (APNG)", "image/png"),
            f"{stem}.json": ("Numbers JSON", "application/json")}
    links = " ".join(
        f'<a download="{esc(name)}" href="{keep(raw, said[name][1])}">{said[name][0]}</a>'
        for name, raw in contents.items())
    return f'<p class="rx-files">Save: {links}</p>'


def _numbers(result: Result) -> str:
    now = result.adversarial_captions[0]
    rows = [[result.captions[k] if now[k] == result.captions[k] else
             f"{result.captions[k]} → {now[k]}",
             *(f"{float(r.probabilities[0, k]) * 100:.2f} %"
               for r in (result.clean, result.adversarial)),
             *(f"{float(r.cosines[0, k]):.4f}" for r in (result.clean, result.adversarial))]
            for k in range(len(result.captions))]
    head = ["Caption", "Probability, clean", "Probability, attacked", "Cosine, clean",
            "Cosine, attacked"]
    return ('<details class="rx-table"><summary>All numbers as a table</summary>'
            f'{table(head, rows, f"Scores of {result.model}")}</details>')
