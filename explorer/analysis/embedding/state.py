"""What the Embedding space tab knows: clean points of each model, and each visitor's own set."""

from __future__ import annotations

import base64
import io
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from explorer.analysis.embedding.landmarks import (
    concepts,
    known_landmarks,
    known_pictures,
    landmark_features,
    named,
    picture_features,
    sentences,
)
from explorer.analysis.embedding.layout import Chosen
from explorer.analysis.embedding.shift import EXAMPLE, LANDMARK, OWN, SENTENCE, Anchors, angle
from explorer.analysis.embedding.umaps import Maps
from explorer.attacks.engine import Step
from explorer.attacks.image.classic import PGD, Noise
from explorer.attacks.result import Result
from explorer.attacks.run import stream
from explorer.base.errors import InputError
from explorer.base.progress import Progress
from explorer.base.store import Store
from explorer.data.examples import Example
from explorer.data.pairs import Pairs
from explorer.data.sets import Examples, read_examples
from explorer.models.encoder import DualEncoder
from explorer.models.library import Library

MOST_OWN = 5_000
MOST_ATTACKED = 1_000
BATCH = 32
KEEP = 8  # models whose clean points are kept
CELL = 40  # side of one thumbnail on the sheet, pixels
UPLOADS = (".zip", ".tar", ".gz", ".tgz", ".parquet")


Job = Iterator[Progress]


@dataclass(frozen=True, eq=False)
class SetAttack:
    """An attack on n pictures of a set by one model. chosen: where they went; angles, noise:
    (n,) degrees moved by the attack and by noise of the same size; right, fooled: (n,) bool."""

    chosen: Chosen
    angles: np.ndarray
    noise: np.ndarray
    right: np.ndarray
    fooled: np.ndarray
    eps: float

    def without(self, gone: int) -> SetAttack:
        """The same among anchors of which so many landmarks, which come first, are left out."""
        return replace(self, chosen=replace(self.chosen, rows=self.chosen.rows - gone))


@dataclass(eq=False)
class OwnSet:
    """A visitor's pictures. anchors, joined: by model, alone and with the background; sheet: the
    thumbnails on one JPEG."""

    examples: Examples
    sheet: str = ""
    anchors: dict[str, Anchors] = field(default_factory=dict)
    joined: dict[str, Anchors] = field(default_factory=dict)
    attacks: dict[str, SetAttack] = field(default_factory=dict)


class Spaces:
    """Shared by all visitors but for `sets`."""

    def __init__(self, library: Library, examples: dict[str, Example]) -> None:
        self.library, self.examples = library, list(examples.values())
        self.files = [e.path for e in self.examples]
        self.base: OrderedDict[str, Anchors] = OrderedDict()  # of the models seen last
        self.sets: Store[OwnSet] = Store(keep=8)
        self.maps = Maps()

    def anchors(self, name: str, own: OwnSet | None = None) -> Anchors | None:
        """The clean points of a model, or None while something of them has not been read."""
        base = self.base.get(name) or self._known(name)
        if base is None or own is None:
            return base
        if name not in own.anchors:
            return None
        if name not in own.joined:
            own.joined[name] = base.joined(own.anchors[name])
        return own.joined[name]

    def prepare(self, names: tuple[str, ...], own: OwnSet | None = None) -> Job:
        """Reads whatever `anchors` lacks; what is finished stays when the iteration is stopped."""
        for name in dict.fromkeys(names):
            if self.anchors(name, own) is not None:
                continue
            yield Progress(f"Opening {name} …")
            model = self.library.load(name)
            if name not in self.base:
                yield from self._read_base(name, model)
            if own is not None and name not in own.anchors:
                yield from self._read_own(name, model, own)

    def _read_base(self, name: str, model: DualEncoder) -> Job:
        texts = []
        for captions, what in ((named(concepts()), "landmark concepts"),
                               (sentences(), "landmark sentences")):
            texts.append((yield from read_landmarks(model, captions, what)))
        yield Progress(f"{name} looks at the example pictures")
        self._keep(name, self._base(name, texts, picture_features(model, self.files)))

    def _keep(self, name: str, anchors: Anchors) -> Anchors:
        self.base[name] = anchors
        while len(self.base) > KEEP:
            self.base.popitem(last=False)
        return anchors

    def kept_bytes(self) -> int:
        """Of clean points and maps."""
        return sum(a.features.nbytes for a in list(self.base.values())) + self.maps.kept_bytes()

    def _known(self, name: str) -> Anchors | None:
        """The base of a model that is open and has read all of it before, here or elsewhere."""
        if name not in self.library.loaded():
            return None
        model = self.library.load(name)
        texts = [known_landmarks(model, c) for c in (named(concepts()), sentences())]
        found, seen = [t for t in texts if t is not None], known_pictures(model, self.files)
        if len(found) < len(texts) or seen is None:
            return None
        return self._keep(name, self._base(name, found, seen))

    def _base(self, name: str, texts: list[np.ndarray], seen: np.ndarray) -> Anchors:
        """Concepts, sentences, example photos."""
        names = ((LANDMARK, concepts()), (SENTENCE, sentences()),
                 (EXAMPLE, tuple(e.title for e in self.examples)))
        return Anchors(
            name, tuple(f"{kind}:{i}" for kind, own in names for i in range(len(own))),
            tuple(one for _, own in names for one in own),
            tuple(kind for kind, own in names for _ in own), np.concatenate([*texts, seen]))

    def _read_own(self, name: str, model: DualEncoder, own: OwnSet) -> Job:
        rows: list[int] = []
        parts: list[np.ndarray] = []
        small: list[Tensor] = []
        for places, images in own.examples.pixels(model.frame, BATCH):
            with torch.no_grad():
                parts.append(model.encode_image(images).cpu().numpy())
            if not own.sheet:
                small.append(torch.nn.functional.interpolate(images, (CELL, CELL), mode="area"))
            rows += places
            yield Progress(f"{name} looks at your pictures", places[-1] + 1, len(own.examples))
        captions, labels = own.examples.captions, own.examples.labels
        own.anchors[name] = Anchors(
            name, tuple(f"own:{r}" for r in rows), tuple(captions[labels[r]] for r in rows),
            (OWN,) * len(rows), np.concatenate(parts))
        if not own.sheet:
            own.sheet = sheet(torch.cat(small), rows, len(own.examples))

    def take_set(self, session: str, path: str | None, names: tuple[str, ...]) -> Job:
        """Reads an uploaded set and puts it beside the background. Raises InputError."""
        if not path:
            raise InputError("choose a file first: a zip of pictures with a CSV beside them or "
                             "in folders by class, or a parquet file")
        file = Path(path)
        if not file.name.lower().endswith(UPLOADS):
            extra = (": a CSV alone only names pictures, so put it in a zip together with them"
                     if file.suffix.lower() == ".csv" else "")
            raise InputError(f"the set must be a zip, tar, tar.gz or parquet file{extra}")
        yield Progress("Opening the set …")
        own = OwnSet(read_examples(file, limit=MOST_OWN))
        yield from self.prepare(names, own)
        unread = len(own.examples) - max(len(a.keys) + a.dropped for a in own.anchors.values())
        self.sets.put(session, own)
        left = f" {unread:,} could not be read." if unread else ""
        whole = len(own.examples.source.answers)
        drawn = f" (drawn from {whole:,})" if whole > len(own.examples) else ""
        yield Progress(f"{len(own.examples) - unread:,} pictures{drawn} are on the map.{left}",
                   last=True)

    def attack_set(self, own: OwnSet, rows: list[int], names: tuple[str, ...], eps_255: float,
                   seed: int = 0) -> Job:
        """Attacks chosen pictures of a set by PGD-10 on each model, with its noise control."""
        if not rows:
            raise InputError("choose at least one picture of your set")
        yield from self.prepare(names, own)
        own.attacks.clear()
        eps = eps_255 / 255
        pgd = PGD(eps=eps)
        part = replace(own.examples, chosen=tuple(own.examples.chosen[r] for r in rows),
                       labels=tuple(own.examples.labels[r] for r in rows))
        for name in dict.fromkeys(names):
            made: list[tuple[list[int], Result, Result]] = []
            done = 0
            for places, images in part.pixels(self.library.load(name).frame, BATCH):
                pairs = Pairs(images, part.captions, torch.tensor([part.labels[p] for p in places]))
                results: list[Result] = []
                for attack in (pgd, Noise(eps=eps)):
                    for event in stream(attack, self.library.load(name), pairs, seed=seed):
                        if isinstance(event, Step):
                            said = f"Attacking your pictures with {name}, step {event.index}"
                            yield Progress(f"{said} of {event.total}", done, len(rows))
                        else:
                            results.append(event)
                done += len(places)
                made.append(([rows[p] for p in places], results[0], results[1]))
            own.attacks[name] = _measured(self.anchors(name, own), made, eps_255)
        yield Progress(f"{len(rows):,} pictures attacked.", last=True)


def read_landmarks(model: DualEncoder, captions: tuple[str, ...], what: str,
                   ) -> Generator[Progress, None, np.ndarray]:
    """`landmark_features`, saying how far it is."""
    reading = landmark_features(model, captions)
    while True:
        try:
            done, total = next(reading)
        except StopIteration as stop:
            found: np.ndarray = stop.value
            return found
        yield Progress(f"{model.card.id} reads the {what}, once", done, total)


def _measured(anchors: Anchors | None, made: list[tuple[list[int], Result, Result]],
              eps: float) -> SetAttack:
    assert anchors is not None
    place = {key: i for i, key in enumerate(anchors.keys)}
    at, ends, angles, noise, right, fooled = [], [], [], [], [], []
    for rows, result, control in made:
        for i, row in enumerate(rows):
            end, clean = result.adversarial.features[i].numpy(), result.clean.features[i].numpy()
            if f"own:{row}" not in place or not np.isfinite(end).all():
                continue
            at.append(place[f"own:{row}"])
            ends.append(end)
            angles.append(angle(clean, end))
            noise.append(angle(clean, control.adversarial.features[i].numpy()))
            right.append(bool(result.correct_before[i]))
            fooled.append(bool(result.correct_before[i] & ~result.correct_after[i]))
    features = np.stack(ends) if ends else anchors.features[:0]
    return SetAttack(Chosen(np.array(at, int), features), np.array(angles), np.array(noise),
                     np.array(right, bool), np.array(fooled, bool), eps)


def jpeg_uri(image: Image.Image) -> str:
    """For thumbnails alone: never what a number was measured on."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=72)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def sheet(small: Tensor, rows: list[int], n: int) -> str:
    """(m, 3, CELL, CELL) thumbnails on one JPEG, `columns(n)` a row, each at its row's place."""
    wide = columns(n)
    page = np.full((-(-n // wide) * CELL, wide * CELL, 3), 128, np.uint8)
    levels = (small * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    for row, picture in zip(rows, levels, strict=True):
        y, x = row // wide * CELL, row % wide * CELL
        page[y : y + CELL, x : x + CELL] = picture
    return jpeg_uri(Image.fromarray(page))


def columns(n: int) -> int:
    return max(1, int(np.ceil(np.sqrt(n))))


def drain(job: Job, tell: Callable[[Progress], None] = lambda said: None) -> Progress | None:
    """Runs a job to its end; its last words."""
    last = None
    for last in job:
        tell(last)
    return last
