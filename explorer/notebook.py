"""The library in a few lines, for notebooks and scripts: attack a photo, look, keep the case.

    import explorer
    case = explorer.attack("cat.jpg", ["a photo of a cat", "a photo of a dog"])
    case                      # a notebook draws it as the app does
    case["pocket"].success
    case.save("case.zip")
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from explorer.attacks.build import attack_of
from explorer.attacks.run import name_of, run, settings_of
from explorer.bundle import bundle_bytes
from explorer.errors import InputError
from explorer.models import Library
from explorer.pairs import clean_captions, one_pair, open_image
from explorer.result import Result
from explorer.saving import write_files
from explorer.ui.outcome import Outcome, Part
from explorer.ui.stage import draw

PAIR = ("pocket", "pocket-robust")
USUAL = {"image": "pgd", "text": "bert", "joint": "alternating"}
LOOK = Path(__file__).parent / "ui"
_library: list[Library] = []


def library() -> Library:
    """The models, opened once a process."""
    if not _library:
        from explorer.fastconv import keep_memory

        keep_memory()
        _library.append(Library())
    return _library[0]


@dataclass(frozen=True, eq=False)
class Case:
    """One photo and its captions, attacked on one or more models; case["pocket"] is a Result."""

    results: dict[str, Result]
    alt: str

    def __getitem__(self, model: str) -> Result:
        return self.results[model]

    def _outcome(self) -> Outcome:
        return Outcome(self.alt, [Part(library().card(name), result, flip_searched=False)
                                  for name, result in self.results.items()])

    def html(self) -> str:
        """A page of its own that needs no other file."""
        style = (LOOK / "style.css").read_text(encoding="utf-8")
        script = (LOOK / "script.js").read_text(encoding="utf-8")
        look = f"body {{ font-family: system-ui, sans-serif }} {style}"
        return ('<!doctype html><html lang="en"><head><meta charset="utf-8">'
                "<title>CLIP robustness explorer: a case</title>"
                f'<style id="rx-look">{look}</style></head><body>{draw(self._outcome())}'
                f'<script id="rx-code">{script}</script></body></html>')

    def _repr_html_(self) -> str:
        inside = html.escape(self.html(), quote=True)
        return (f'<iframe srcdoc="{inside}" title="Attack on {html.escape(self.alt)}" '
                'style="width:100%;height:900px;border:0"></iframe>')

    def save(self, file: str | Path) -> None:
        """Writes a bundle (.zip, see `python -m explorer replay`) or a page (.html)."""
        path = Path(file)
        if path.suffix == ".html":
            content = self.html().encode()
        elif path.suffix == ".zip":
            marks = {name: library().load(name).fingerprint for name in self.results}
            content = bundle_bytes(list(self.results.values()), marks, self.alt)
        else:
            raise InputError(f"a case is saved as .zip or .html, not as {path.name}")
        write_files(path.parent, {path.name: content})


def attack(image: str | Path | Image.Image, captions: Sequence[str], true: int = 0,
           kind: str = "image", name: str | None = None, models: Sequence[str] = PAIR,
           goal: str = "classification", target: str | None = None, seed: int = 0,
           **settings: Any) -> Case:
    """Attacks one photo, its captions, or both (kind "image", "text", "joint").

    true: number of the true caption; name: of the attack's registry; settings: the attack's own,
    such as eps=4/255 or words=2. Raises InputError in one sentence for wrong input.
    """
    said = clean_captions(captions)
    if not 0 <= true < len(said):
        raise InputError(f"true must be a caption's number, 0 to {len(said) - 1}")
    if target is not None and target not in said:
        said = clean_captions([*said, target])
    if kind not in USUAL:
        raise InputError(f"kind must be image, text or joint, not '{kind}'")
    chosen = attack_of(kind, name or USUAL[kind], settings)
    unknown = settings.keys() - settings_of(chosen).keys()
    if unknown:
        raise InputError(f"the attack {name_of(chosen)} has no setting {', '.join(unknown)}; it "
                         f"has {', '.join(settings_of(chosen))}")
    targets = None if target is None else torch.tensor([said.index(target)])
    picture, results = open_image(image), {}
    for model in models:
        encoder = library().load(model)
        pair = one_pair(picture, said, true, encoder.size)
        results[model] = run(chosen, encoder, pair, goal, targets, seed, record=True)
    return Case(results, said[true])
