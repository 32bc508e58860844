"""A file of weights as people have it -> a model folder that this app, and open_clip, can open.

Nothing in the file is run. What was taken, what was dropped and what came from a base is said, and
the result must fit strictly and tell two pictures and two captions apart in one forward pass.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from explorer.base.errors import InputError
from explorer.models import clip_names as clipnames
from explorer.models.architecture import Asked, Draft, draft_of, open_clip_names
from explorer.models.cards import Card
from explorer.models.checkpoints import Part, choose, contents, read_file, read_shards
from explorer.models.encoder import DualEncoder
from explorer.models.library import Library
from explorer.models.loaders import (
    CONFIG,
    SAFE,
    TOKENIZER,
    build,
    load_strictly,
    open_model,
    sha256_of,
)

SHOWN = 5  # names that a sentence lists


def convert(file: Path, out: Path, asked: Asked, library: Library) -> Iterator[str]:
    """Writes the folder `out`; yields sentences. Raises InputError, and leaves nothing then."""
    if asked.arch is not None and asked.base is not None:
        raise InputError("give --arch or --base, not both: a base brings its architecture")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists already: --out must be a new folder")
    if not file.exists():
        raise InputError(f"there is no file {file}")
    place = (file if file.is_dir() else file.parent).resolve()
    held = read_shards(file) if file.is_dir() else read_file(file)
    found = contents(held, file.name)
    parts = choose(found, asked.take, file.name)
    draft = draft_of(parts, place, file.name, asked, library)
    yield _taken(parts, found.parts, found.rest)
    clip, dropped = _filled(parts, draft, place, file.name)
    if dropped:
        yield f"Dropped, as the model has no place for them: {_few(dropped)}."
    yield from draft.notes
    card = _written(clip, draft, parts, out, asked, library)
    yield (f"One forward pass: two pictures and two captions are told apart. The model is in "
           f"{out}: name it --models {card.source.removeprefix('local-dir:')}")


def _taken(parts: Sequence[Part], all_parts: Sequence[Part], rest: Sequence[str]) -> str:
    kinds = {"whole": "both towers", "image": "the image tower", "text": "the text tower"}
    said = " and ".join(f"{kinds[p.kind]} of {p.said} ({len(p.weights)} tensors)" for p in parts)
    left = [p.said for p in all_parts if p not in parts] + list(rest)
    return f"Taken: {said}." + (f" Left: {_few(left)}." if left else "")


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(name[:60] for name in names[:SHOWN]) + more


# -- the weights -----------------------------------------------------------------------------------


def _filled(parts: Sequence[Part], draft: Draft, place: Path, name: str,
            ) -> tuple[Any, list[str]]:
    """The model with the weights in it, and what it had no place for."""
    home = next((f for f in draft.folders if (f / "config.json").is_file()), place)
    clip, _ = build(draft.config, _tokenizer_home(draft) or home)
    ours = clip.state_dict()
    weights, dropped = dict[str, torch.Tensor](), list[str]()
    for part in parts:
        own, lost = clipnames.fitted(open_clip_names(part), part.kind, ours)
        weights |= own
        dropped += lost
    if not weights:
        raise InputError(f"no weight of {name} has the name of one of the model's: it is of "
                         f"another kind (in the file: {_few(list(parts[0].weights))})")
    strange = [key for key in weights if weights[key].shape != ours[key].shape]
    lost_share = len(dropped) / (len(dropped) + len(weights))
    if lost_share > 0.2 and not strange:
        raise InputError(f"{len(dropped)} of {len(dropped) + len(weights)} tensors of {name} have "
                         f"no place in the model, such as {dropped[0]}: it is of another "
                         "architecture")
    filling = [key for key in ours if key not in weights and key in draft.base]
    if filling:
        draft.notes.append(f"From the base: {len(filling)} tensor{'s' * (len(filling) > 1)} that "
                           f"the file does not have, such as {filling[0]}.")
        _check_tower(parts, filling, name)
    load_strictly(clip, {**{k: draft.base[k] for k in filling}, **weights}, name)
    return clip, dropped


def _check_tower(parts: Sequence[Part], filling: Sequence[str], name: str) -> None:
    """A tower must be whole: the base may bring the other one and the scale, no layers of it."""
    kinds = {part.kind for part in parts}
    lost = [key for key in filling
            if not key.startswith("logit_") and not clipnames.CONSTANTS.search(key)
            and ("whole" in kinds or ("image" if key.startswith("visual.") else "text") in kinds)]
    if lost:
        raise InputError(f"{name} lacks {len(lost)} tensors of its own tower, such as {lost[0]}: "
                         "it is of another architecture than the base")


def _tokenizer_home(draft: Draft) -> Path | None:
    return next((f for f in draft.folders if any((f / n).is_file() for n in TOKENIZER)), None)


# -- the folder ------------------------------------------------------------------------------------


def _written(clip: Any, draft: Draft, parts: Sequence[Part], out: Path, asked: Asked,
             library: Library) -> Card:
    """Writes aside, opens what was written, and moves it in."""
    from safetensors.torch import save_file

    room = out.absolute().parent / f".convert-{secrets.token_hex(4)}"
    aside = room / out.name
    half = all(v.dtype == torch.float16 for p in parts for v in p.weights.values()
               if v.is_floating_point())
    try:
        aside.mkdir(parents=True)
        kept = {k: (v.half() if half and v.is_floating_point() else v).detach().contiguous().clone()
                for k, v in clip.state_dict().items()}
        save_file(kept, aside / SAFE[0], metadata={"format": "pt"})
        (aside / SAFE[0]).chmod(0o644)
        (aside / CONFIG).write_text(json.dumps(draft.config, indent=2) + "\n", encoding="utf-8")
        text = draft.config["model_cfg"]["text_cfg"]
        _copy_tokenizer(draft, text, aside)
        told = {"id": out.name, "title": out.name, "kind": asked.kind, "licence": "not stated",
                "about": "Made of a file of weights by `python -m explorer convert`.",
                "base": asked.base if asked.base in library.cards() else None,
                "sha256": sha256_of(aside / SAFE[0])}
        (aside / "card.json").write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
        _check_pass(open_model(Card(out.name, out.name, asked.kind, f"local-dir:{aside}", "", ""),
                               "cpu"))
        if out.is_dir():
            out.rmdir()
        os.replace(aside, out)
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(room, ignore_errors=True)
    return Card(out.name, out.name, asked.kind, f"local-dir:{out}", "", "")


def _copy_tokenizer(draft: Draft, text: Mapping[str, Any], aside: Path) -> None:
    """The files that lie beside, or for a tokenizer known here by name, its own."""
    if "hf_tokenizer_name" not in text and "hf_model_name" not in text:
        return
    home = _tokenizer_home(draft)
    for folder in draft.folders:
        if "hf_model_name" in text and (folder / "config.json").is_file():
            shutil.copyfile(folder / "config.json", aside / "config.json")
            break
    if home is not None:
        for name in TOKENIZER:
            if (home / name).is_file():
                shutil.copyfile(home / name, aside / name)


def _check_pass(model: DualEncoder) -> None:
    """Raises InputError unless two pictures and two captions come out finite and different."""
    height, width = model.frame.height, model.frame.width
    ramp = torch.linspace(0, 1, width).expand(3, height, width)
    with torch.no_grad():
        images = model.encode_image(torch.stack([ramp, 1 - ramp.flip(0).roll(width // 3, 2)]))
        texts = model.encode_text(["a photo of a cat", "a red car in the rain"])
    for what, rows in (("pictures", images), ("captions", texts)):
        if not bool(torch.isfinite(rows).all()) or torch.equal(rows[0], rows[1]):
            raise InputError(f"the model runs, but two different {what} get the same features: the "
                             "weights are damaged or those of another kind of model")
