"""The three calls as strangers make them: values of any kind in, progress and an Answer out.

The API and the MCP tools are two doors to this; both let nobody in but through the gate.
"""

from __future__ import annotations

import base64
import binascii
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from explorer.actions import evaluate as evaluating
from explorer.actions import project as projecting
from explorer.actions.answers import plain, understood
from explorer.actions.company import accompany, answered
from explorer.actions.values import (
    Answer,
    choice,
    harm,
    listed_models,
    mapping,
    shown,
    text,
    texts,
    truth,
    whole,
)
from explorer.analysis.embedding.layout import View
from explorer.analysis.embedding.shift import LANDMARKS
from explorer.analysis.embedding.state import Spaces
from explorer.analysis.evaluation.guards import Guards
from explorer.attacks.corruptions.base import SEVERITIES
from explorer.attacks.defences.registry import parse_defence
from explorer.attacks.drawing import GREY, drawn
from explorer.attacks.goals import GOALS
from explorer.attacks.image.perturbation import SHIPPED
from explorer.attacks.language.masked import BERT, EMBEDDED
from explorer.attacks.registry import USUAL, make_attack
from explorer.attacks.request import MOST_SEED, Request
from explorer.attacks.result import Result
from explorer.base.errors import InputError
from explorer.base.progress import Progress
from explorer.data.examples import load_examples
from explorer.data.registry import open_place
from explorer.data.sets import Examples, make_examples
from explorer.data.sources import UPLOADS, open_upload
from explorer.models.library import Library

EXAMPLE, SAMPLES = "example:", "sample:photos"
LANGUAGE_NAMES = ("", EMBEDDED, BERT)
MOST_PICTURES = 200
DATA = re.compile(r"data:image/[a-z+.-]{1,20};base64,", re.IGNORECASE)
Told = Iterator[Progress | Answer]
Values = Mapping[str, Any]


class Service:
    """root: the folder of image sets that visitors may use, if any; work: for what is made."""

    def __init__(self, library: Library, spaces: Spaces | None = None, root: str = "",
                 work: Path | None = None) -> None:
        self.library, self.examples = library, load_examples()
        self.spaces = spaces or Spaces(library, self.examples)
        self.root, self.work = root or None, work or Path(tempfile.gettempdir())

    def attack(self, values: Values) -> Told:
        """image, captions, true, kind, attack, settings, models, goal, target, seed, defence,
        aware, draw."""
        asked = self._request(values)
        for event in self._results(asked):
            yield event if isinstance(event, Progress) else plain(*event)

    def project(self, values: Values) -> Told:
        """Those of `attack`, and projection, dims, centre, neighbours, background, landmarks."""
        view = View(choice(values.get("projection", "plane"), "projection",
                           projecting.PROJECTIONS),
                    whole(values.get("dims", 2), "dims", 2, 3),
                    truth(values.get("centre", False), "centre"),
                    landmarks=choice(values.get("landmarks", "both"), "landmarks",
                                     tuple(LANDMARKS)))
        k = whole(values.get("neighbours", 10), "neighbours", 1, projecting.MOST_NEIGHBOURS)
        background = truth(values.get("background", False), "background")
        results: dict[str, Result] = {}
        asked = self._request(values)
        for event in self._results(asked):
            if isinstance(event, Progress):
                yield event
            else:
                asked, results = event
        for step in projecting.lay(self.library, self.spaces, results, view, k):
            yield step if isinstance(step, Progress) else Answer(
                {"understood": understood(asked), **step.plain(background)}, {})

    def evaluate(self, values: Values) -> Told:
        """data, models, attacks, settings, limit, seed, defences, attacker, corruptions,
        severities."""
        models = listed_models(values.get("models"), self.library)
        attacks = evaluating.named_attacks(
            texts(values.get("attacks") or ["clean", "image"], "attacks"),
            _settings(values.get("settings")))
        limit = whole(values.get("limit", 12), "limit", 1, MOST_PICTURES)
        seed = whole(values.get("seed", 0), "seed", 0, MOST_SEED)
        guards = Guards.named(texts(values.get("defences") or [], "defences"),
                              text(values.get("attacker") or "unaware", "attacker"))
        corruptions = harm(values.get("corruptions") or [],
                           values.get("severities") or SEVERITIES)
        examples = self._set(values.get("data", SAMPLES), limit, seed)
        for event in evaluating.measure(self.library, models, attacks, examples, seed,
                                        self.work / "evaluations", guards, corruptions):
            yield event if isinstance(event, Progress) else Answer(event.plain(), {})

    def _results(self, asked: Request) -> Iterator[Progress | tuple[Request, dict[str, Result]]]:
        """The progress of a request, and at last how it was asked and its results by model."""
        asked = yield from accompany(self.library, asked)
        yield Progress(understood(asked))
        found: list[Result] = []
        for event in answered(self.library, asked):
            if isinstance(event, Progress):
                yield event
            else:
                found.append(event)
        yield asked, dict(zip(asked.models, found, strict=True))

    def _request(self, values: Values) -> Request:
        image = values.get("image", f"{EXAMPLE}cat")
        captions, true = values.get("captions"), values.get("true")
        known = self.examples.get(image.removeprefix(EXAMPLE)) if (
            isinstance(image, str) and image.startswith(EXAMPLE)) else None
        if not captions and known is not None:
            captions = list(known.captions)
            true = known.true if true is None else true
        number = (0 if true is None else true if isinstance(true, str) else
                  whole(true, "true", 0, 1_000_000))
        defence = text(values.get("defence") or "", "defence")
        more: dict[str, Any] = {
            "models": listed_models(values.get("models"), self.library),
            "seed": whole(values.get("seed", 0), "seed", 0, MOST_SEED),
            "defence": parse_defence(defence) if defence else None,
            "aware": truth(values.get("aware", False), "aware")}
        if caption := text(values.get("draw") or "", "draw"):
            return drawn(caption, None if image == GREY else self._picture(image),
                         texts(captions or [], "captions"), number,
                         _settings(values.get("settings")), **more).checked()
        target: Any = values.get("target")
        if isinstance(target, bool) or not isinstance(target, int | float):
            target = text(target or "", "target")
        else:
            target = whole(target, "target", 0, 1_000_000)
        attack = make_attack(choice(values.get("kind", "image"), "kind", tuple(USUAL)),
                             _own(values.get("attack")), _settings(values.get("settings")))
        return Request(
            (self._picture(image),), tuple(texts(captions or [], "captions")),
            (number,), attack, None if target == "" else target,
            choice(values.get("goal", "classification"), "goal", tuple(GOALS)), **more).checked()

    def _picture(self, image: Any) -> Path | bytes:
        """An uploaded file, an example by its name, or the picture itself as base64 text."""
        if isinstance(image, dict):
            path = image.get("path")
            if not isinstance(path, str) or not path:
                raise InputError("image must be an uploaded file: use handle_file of gradio_client")
            return Path(path)
        said = text(image, "image")
        if said.startswith(EXAMPLE):
            name = said.removeprefix(EXAMPLE)
            if name not in self.examples:
                raise InputError(f"there is no example '{shown(name)}'; known are "
                                 f"{', '.join(self.examples)}")
            return self.examples[name].path
        try:
            raw = base64.b64decode("".join(DATA.sub("", said, 1).split()), validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        if len(raw) < 30:  # shorter than any picture: it was meant as a path or an address
            raise InputError("image must be an uploaded file, the picture as base64 text, or "
                             f"'{EXAMPLE}NAME'; no path and no address is read")
        return raw

    def _set(self, data: Any, limit: int, seed: int) -> Examples:
        """An uploaded archive or parquet file, a set that came with the app, or one of `root`."""
        if isinstance(data, dict):
            path = data.get("path")
            name = str(path or "").lower()
            if not isinstance(path, str) or not name.endswith(UPLOADS):
                raise InputError(f"data must be a file that ends with one of {', '.join(UPLOADS)}, "
                                 "or the name of a set")
            return make_examples("your upload", open_upload(Path(path)), limit, seed)
        found = open_place(text(data, "data"), self.root, limit, seed, self.work)
        if not isinstance(found, Examples):
            raise InputError(f"{found.name} has captions and no labels: accuracy needs labels")
        return found


def _own(name: Any) -> str | None:
    """A registry name; recipes of TextAttack stay for those who run the app themselves, since
    some of them fetch models."""
    said = text(name or "", "attack")
    if ":" in said:
        raise InputError(f"there is no attack '{shown(said)}' here")
    return said or None


def _settings(given: Any) -> dict[str, Any]:
    """A stranger's settings: plain values, and of the language models only those offered."""
    settings = mapping(given, "settings")
    for key, value in settings.items():
        if not isinstance(value, (str, int, float, bool)):
            raise InputError(f"the setting {shown(key)} must be a number, a text, or true or false")
    if settings.get("perturbation", SHIPPED[0]) not in SHIPPED:
        raise InputError(f"the setting perturbation must be one of {', '.join(SHIPPED)}")
    if settings.get("model", "") not in LANGUAGE_NAMES:
        raise InputError("the setting model must be one of "
                         f"{', '.join(name or 'empty' for name in LANGUAGE_NAMES)}")
    return settings
