"""A photo's captions among the landmarks, the same way by every door: others for a caption that is
alone, and what to say where none fits or the answer is wrong before any attack."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import replace

import numpy as np

from explorer.analysis.company import Fit, fit, others
from explorer.analysis.embedding.landmarks import concepts, known_landmarks, named, sentences
from explorer.analysis.embedding.state import read_landmarks
from explorer.attacks.language.encoder import sentence_encoder
from explorer.attacks.request import PAIR, Request, answer
from explorer.attacks.result import Result
from explorer.base.progress import Progress
from explorer.data.pairs import open_image, to_pixels
from explorer.models.encoder import DualEncoder
from explorer.models.library import Library
from explorer.results.verdicts import clean_wrong


def accompany(library: Library, asked: Request, device: str | None = None,
              ) -> Generator[Progress, None, Request]:
    """A checked request as it is asked of the models: a lone caption that is to be classified gets
    landmark sentences to stand against, chosen by the first model."""
    if len(asked.captions) > 1 or asked.goal != "classification":
        return asked
    yield Progress(f"Opening {asked.models[0]} …")
    model, said = library.load(asked.models[0], device), sentences()
    features = yield from read_landmarks(model, said, "landmark sentences")
    picture = to_pixels(open_image(asked.pictures[0]), model.frame)
    photo = model.look_again(picture[None])[0].cpu().numpy()
    alike = sentence_encoder().similarity(asked.captions * len(said), said).numpy()
    more = tuple(said[k] for k in others(photo, features, alike))
    return replace(asked, captions=(*asked.captions, *more), added=len(more))


def answered(library: Library, asked: Request, record: bool = False, device: str | None = None,
             ) -> Iterator[Progress | Result]:
    """`answer` of an accompanied request, with what a person should know of its captions."""
    names = iter(asked.models)
    for event in answer(library, asked, record, device):
        if isinstance(event, Result):
            event = yield from remarked(library.load(next(names), device), event, asked)
        yield event


def finished(library: Library, asked: Request, record: bool = False,
             ) -> tuple[Request, dict[str, Result]]:
    """A checked request as it was asked, and its results by the models' names; no progress."""
    asked = whole(accompany(library, asked))
    found = [one for one in answered(library, asked, record) if isinstance(one, Result)]
    return asked, dict(zip(asked.models, found, strict=True))


def whole(events: Generator[Progress, None, Request]) -> Request:
    """What a job returns, without its progress."""
    while True:
        try:
            next(events)
        except StopIteration as stop:
            asked: Request = stop.value
            return asked


def remarked(model: DualEncoder, result: Result, asked: Request,
             ) -> Generator[Progress, None, Result]:
    """A result whose notes say which captions were added, when none of a person's own fits, and
    what to try where the answer is wrong before the attack; with captions that would fit."""
    notes = [_added(asked)] if asked.added else []
    if asked.goal != "classification":
        return result
    wrong = clean_wrong(result)
    found = yield from _fit(model, result, len(asked.captions) - asked.added, wrong)
    if found is not None and not found.fits:
        notes.append(_unfit(found, result.model))
    if wrong:
        notes.append(_advice(result.model))
    shown = found.nearest if found is not None and (wrong or not found.fits) else ()
    return replace(result, notes=(*result.notes, *notes), suggestions=shown)


def _fit(model: DualEncoder, result: Result, own: int, wrong: bool,
         ) -> Generator[Progress, None, Fit | None]:
    """The first `own` captions among all landmarks; None where these have not been read and the
    answer is right, as reading them takes seconds."""
    parts = []
    for captions in (named(concepts()), sentences()):
        known = known_landmarks(model, captions)
        if known is None and not wrong:
            return None
        parts.append(known if known is not None else (
            yield from read_landmarks(model, captions, "landmarks")))
    return fit(result.clean.features[0].numpy(), result.text_features[:own].numpy(),
               np.concatenate(parts), (*named(concepts()), *sentences()))


def _added(asked: Request) -> str:
    return (f"You gave one caption, so {asked.added} everyday sentences were added for it to stand "
            f"against: those that {asked.models[0]} finds most alike to the photo, but that say "
            "something else.")


def _unfit(found: Fit, name: str) -> str:
    nearest = ", ".join(f"“{caption}”" for caption in found.nearest)
    return (f"None of your captions fits the photo, to {name}: it finds {found.closer:,} of "
            f"{found.of:,} landmarks more alike to it than the best of them, first of all "
            f"{nearest}.")


def _advice(name: str) -> str:
    if name not in PAIR:
        return "Try other words for what is to be seen, or another model."
    return (f"{name} is a small model: it reads everyday scenes and common things in short English "
            "sentences, but no names, numbers, writing or fine differences; try other words, or a "
            "larger model from the hub (docs/models.md).")
