"""Saliency maps of the last attack, model by model, as a job and as HTML."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
import torch
from torch import Tensor

from explorer.analysis.embedding.figures import blend
from explorer.analysis.embedding.saliency import Saliency, ninths, saliency
from explorer.analysis.embedding.shift import cosine
from explorer.analysis.embedding.state import Job
from explorer.base.errors import InputError
from explorer.base.progress import Progress
from explorer.models.library import Library
from explorer.results.outcome import Outcome
from explorer.results.views import esc, levels, png_uri, signed, table

PLACES = (("top left", "top", "top right"), ("left", "middle", "right"),
          ("bottom left", "bottom", "bottom right"))


def saliency_job(library: Library, outcome: Outcome | None, method: str, caption: str | None,
                 made: list[str]) -> Job:
    """Maps of every model of an outcome; each one's HTML is put into `made` when it is ready."""
    parts = [] if outcome is None else [p for p in outcome.parts if p.result is not None]
    if not parts:
        raise InputError("run an attack in the Attack tab first: the maps compare its two pictures")
    for part in parts:
        result = part.result
        assert result is not None
        if caption and caption not in result.captions:
            raise InputError("choose one of the captions of the last attack")
        index = result.captions.index(caption) if caption else int(result.labels[0])
        model, text = library.load(part.card.id), result.text_features[index]
        maps: list[Tensor] = []
        for image, name in ((result.images[0], "clean"),
                            (result.adversarial_images[0], "attacked")):
            maps.append((yield from _read(
                saliency(method, model, image, text, result.seed),
                f"{method} map of the {name} picture, {part.card.id}")))
        readings = [r.features[0].numpy() for r in (result.clean, result.adversarial)]
        found = Saliency(part.card.id, method, result.captions[index], maps[0], maps[1],
                         (cosine(readings[0], text.numpy()), cosine(readings[1], text.numpy())))
        made.append(section(found, levels(result.images[0]), levels(result.adversarial_images[0])))
    yield Progress("The maps are drawn.", last=True)


def _read(progress: Generator[tuple[int, int], None, Tensor], text: str,
          ) -> Generator[Progress, None, Tensor]:
    while True:
        try:
            done, total = next(progress)
        except StopIteration as stop:
            found: Tensor = stop.value
            return found
        yield Progress(text[0].upper() + text[1:], done, total)


def section(made: Saliency, clean: np.ndarray, adversarial: np.ndarray) -> str:
    """One model's maps with pictures, words and a table. Pictures are (S, S, 3) uint8."""
    signed_map = made.method == "occlusion"
    a, b, d = (np.asarray(v) for v in (made.clean, made.adversarial, made.difference))
    top, far = float(max(np.abs(a).max(), np.abs(b).max())), float(np.abs(d).max())
    drawn = "".join(
        f'<figure><img src="{png_uri(image)}" alt="{esc(_seen(made, name, values))}">'
        f"<figcaption>{name}, {tones} {end:.2g}</figcaption></figure>"
        for image, name, values, tones, end in (
            (blend(clean, a, top, signed_map), "clean", made.clean, _tones(signed_map), top),
            (blend(adversarial, b, top, signed_map), "attacked", made.adversarial,
             _tones(signed_map), top),
            (blend(clean, d, far, True), "attacked minus clean", made.difference, _tones(True),
             far)))
    same = made.agreement
    alike = "one of them is flat" if same is None else f"correlation {same:.2f}"
    unit = ("fall of the cosine when a square is covered" if signed_map
            else "slope of the cosine, a unit of pixel value")
    return (f'<section class="sp-saliency"><h3>{esc(made.model)}</h3><p>Cosine to '
            f"“{esc(made.caption)}” {signed(made.cosines[0])} → {signed(made.cosines[1])}. The two "
            f"maps: {alike}. Values: {unit}.</p>"
            f'<div class="sp-maps">{drawn}</div>{_shares(made)}</section>')


def _tones(both: bool) -> str:
    return "blue to orange: ±" if both else "dark to yellow: 0 to"


def _seen(made: Saliency, name: str, values: Tensor) -> str:
    shares = ninths(values)
    best = int(shares.argmax())
    return (f"Saliency map of {made.model}, {name}: most weight, {float(shares.max()) * 100:.0f} "
            f"%, lies in the {PLACES[best // 3][best % 3]} ninth of the picture")


def _shares(made: Saliency) -> str:
    maps = torch.stack([ninths(v) for v in (made.clean, made.adversarial, made.difference)])
    rows = [[PLACES[y][x], *(f"{float(v) * 100:.0f} %" for v in maps[:, y, x])]
            for y in range(3) for x in range(3)]
    return ("<details><summary>The maps as a table</summary>"
            + table(["Ninth of the picture", "clean", "attacked", "change"], rows,
                    f"Share of each map’s weight, {made.model}") + "</details>")
