"""What an attack found, as a sentence and as plain data with its pictures."""

from __future__ import annotations

from collections.abc import Mapping

from explorer.actions.values import Answer
from explorer.attacks.request import Request
from explorer.attacks.result import Result, versions
from explorer.results.saving import as_dict, file_stem, picture_files
from explorer.results.verdicts import behind, verdict


def sentence(result: Result) -> str:
    """What happened to the picture, in one sentence that names the model; for changed captions
    the words too."""
    said = f"{result.model}{behind(result)}: {verdict(result)[1]}"
    clean, now = result.own_captions()
    if clean != now:
        said += f" The true caption reads “{now}” now."
    return " ".join([said, *(note[0].upper() + note[1:] for note in result.notes)])


def plain(request: Request, results: Mapping[str, Result]) -> Answer:
    """Of a checked request. Everything but features: scores, success, distances, and the two PNGs
    of each model."""
    runs, pictures = [], dict[str, bytes]()
    for number, (model, result) in enumerate(results.items()):
        names, contents = picture_files(result, f"{number}-{file_stem(model)}")
        kept = {k: names[k] for k in ("clean", "adversarial")}
        pictures |= {name: contents[name] for name in kept.values()}
        runs.append({**as_dict(result, files=kept), "sentence": sentence(result)})
    return Answer({"sentences": [run["sentence"] for run in runs],
                   "captions": list(request.captions), "true": request.true[0],
                   "target": request.target, "seed": request.seed, "runs": runs,
                   "versions": versions()}, pictures)
