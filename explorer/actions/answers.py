"""What an attack found, as a sentence and as plain data with its pictures."""

from __future__ import annotations

from collections.abc import Mapping

from PIL import Image

from explorer.actions.values import Answer
from explorer.attacks.registry import name_of
from explorer.attacks.request import Request
from explorer.attacks.result import Result
from explorer.base.versions import versions
from explorer.data.understood import FIRST
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


def understood(request: Request) -> str:
    """What a checked request asks, said before it is carried out."""
    (picture,), captions, true = request.pictures, request.captions, int(request.true[0])
    size = (f"A picture of {picture.width} x {picture.height} pixels"
            if isinstance(picture, Image.Image) else "A picture")
    others = [text for k, text in enumerate(captions) if k != true]
    said = [f"{size}; {len(captions)} caption{'s' * (len(captions) != 1)}, of which number {true} "
            f"is the true one, “{captions[true]}”."]
    if others:
        more = f" and {len(others) - FIRST:,} more" if len(others) > FIRST else ""
        said.append(f"The other{'s' * (len(others) > 1)}: "
                    f"{', '.join(f'“{text}”' for text in others[:FIRST])}{more}.")
    if request.target is not None:
        said.append(f"The models are to say “{captions[int(request.target)]}”.")
    said.append(f"Attack {name_of(request.attack)} on {', '.join(request.models)}, goal "
                f"{request.goal}, seed {request.seed}.")
    return " ".join(said)


def plain(request: Request, results: Mapping[str, Result]) -> Answer:
    """Of a checked request. Everything but features: scores, success, distances, and the two PNGs
    of each model."""
    runs, pictures = [], dict[str, bytes]()
    for number, (model, result) in enumerate(results.items()):
        names, contents = picture_files(result, f"{number}-{file_stem(model)}")
        kept = {k: names[k] for k in ("clean", "adversarial")}
        pictures |= {name: contents[name] for name in kept.values()}
        runs.append({**as_dict(result, files=kept), "sentence": sentence(result)})
    return Answer({"understood": understood(request),
                   "sentences": [run["sentence"] for run in runs],
                   "captions": list(request.captions), "true": request.true[0],
                   "target": request.target, "seed": request.seed, "runs": runs,
                   "versions": versions()}, pictures)
