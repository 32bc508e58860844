"""What the step slider of the Attack tab shows, as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from explorer.results.verdicts import before, verdict
from explorer.results.views import Keep, caption_diff, esc, inline, levels, png, shown_captions

if TYPE_CHECKING:
    from explorer.attacks.result import Result


def trail_data(result: Result, keep: Keep = inline) -> str:
    """JSON for the step slider: a frame's address, a sentence and the scores of every recorded
    step. keep: where the frames go; into the JSON by default."""
    assert result.frames is not None and result.trail is not None
    rows = shown_captions(result)
    frames = []
    for i in range(len(result.frames)):
        one = result.trail
        last = i == len(result.frames) - 1
        kind, sentence = verdict(result) if last else verdict(result, step=i)
        if i == 0:
            kind, sentence = "before", before(result)
        frames.append({
            "image": keep(png(levels(result.frames[i])), "image/png"),
            "step": result.frame_steps[i],
            "kind": kind, "sentence": esc(sentence),
            "p": [round(float(one.probabilities[i, k]), 5) for k in rows],
            "c": [round(float(one.cosines[i, k]), 4) for k in rows],
            "caption": caption_diff(result.own_captions()[0], result.frame_captions[i]),
        })
    return json.dumps(frames, separators=(",", ":")).replace("</", "<\\/")
