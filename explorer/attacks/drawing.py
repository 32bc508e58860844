"""A caption drawn into a photo: many steps towards it in L2, from a photo or from plain grey.

What comes out shows what a model wants to see: on a standard one it looks like noise, on a robust
one shapes appear (perceptually aligned gradients; Engstrom et al. 2019, arXiv 1906.00945; Santurkar
et al. 2019, arXiv 1906.09453). Deviation: it climbs the cosine to a caption, in the place of a
class's logit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from explorer.attacks.registry import Attack, make_attack
from explorer.attacks.request import Request, Source
from explorer.base.errors import InputError
from explorer.base.settings import current

EPS, STEPS = 20.0, 100  # of L2, pixels in [0, 1]
GREY, GREY_ALT = "grey", "plain grey"
GREY_CAPTION, PHOTO_CAPTION = "a plain grey picture", "a photo"
SIDE = 224


def grey() -> Image.Image:
    """A picture with nothing in it."""
    return Image.new("RGB", (SIDE, SIDE), (128, 128, 128))


def drawing(settings: Mapping[str, Any] | None = None) -> Attack:
    """PGD in L2 from the picture as it is. settings: eps, steps and step, where others are wanted.
    Raises InputError."""
    own = {"eps": EPS, "steps": min(STEPS, current().steps), **(settings or {})}
    if unknown := own.keys() - {"eps", "steps", "step"}:
        raise InputError(f"a drawing has no setting {', '.join(sorted(unknown))}; it has eps, "
                         "steps and step")
    return make_attack("image", "pgd", {**own, "norm": "l2", "random_start": False})


def drawn(caption: str, picture: Source | None = None, captions: Sequence[str] = (),
          true: int | str = 0, settings: Mapping[str, Any] | None = None, **more: Any) -> Request:
    """The request that draws a caption: from grey where there is no picture. captions, true: what
    the picture shows, if that is known; more: the other fields of a Request. Raises InputError."""
    if not caption.strip():
        raise InputError("write the caption that is to be drawn, such as: a photo of a dog")
    if picture is None:
        picture, captions, true = grey(), (GREY_CAPTION,), 0
        more = {**more, "alt": GREY_ALT}
    return Request((picture,), tuple(captions) or (PHOTO_CAPTION,), (true,), drawing(settings),
                   caption, "similarity", **more)
