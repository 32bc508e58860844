"""CLIP as two functions: pixels in [0, 1] and strings in, unit features out."""

from __future__ import annotations

import hashlib
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from explorer.base.device import device_and_dtype
from explorer.base.errors import InputError
from explorer.base.framing import Size, frame_of
from explorer.base.memory import Room
from explorer.base.settings import current
from explorer.models.cards import Card
from explorer.models.fast import attention, convolution, patches
from explorer.models.fast.casting import CastTower
from explorer.models.fast.padding import padding, read, without_padding

TEXT_CACHE = 20_000
SEEN = 32  # batches of pictures whose features are remembered


class DualEncoder:
    """A CLIP model with its weights frozen, its normalisation inside, and eval mode set.

    Attributes: card; frame: its input in pixels and how a picture is cut to it; scale: exp(logit
    scale); dim: feature size.
    """

    def __init__(
        self, clip: nn.Module, tokenize: Callable[[list[str]], Tensor], card: Card,
        size: Size, mean: Sequence[float], std: Sequence[float], device: str | None = None,
    ) -> None:
        self.card, self.frame, self.tokenize = card, frame_of(size), tokenize
        self.device, self.fast_dtype = device_and_dtype(device)
        self.clip = clip.eval().requires_grad_(False).to(self.device)
        attention.speed_up(self.clip)
        if self.device.type == "cpu":
            convolution.speed_up(self.clip)
            patches.speed_up(self.clip)
        visual = self.clip.visual
        assert isinstance(visual, nn.Module)
        visual.to(memory_format=torch.channels_last)
        self.mean = torch.tensor(mean, device=self.device).view(1, 3, 1, 1)
        self.std = torch.tensor(std, device=self.device).view(1, 3, 1, 1)
        self._compiled: Callable[[Tensor], Tensor] | None = None
        self._cast = CastTower()
        self.notes: tuple[str, ...] = ()  # what its user should know, in sentences
        self.scale = float(self.clip.logit_scale.exp())  # type: ignore[operator]
        self._texts: OrderedDict[tuple[str, bool], Tensor] = OrderedDict()
        self._seen: dict[bytes, tuple[Any, ...]] = {}  # see look_again
        self.dim = self.encode_text(["a photo"]).shape[1]

    @property
    def size(self) -> int:
        """The input's height in pixels, which is the width too unless `frame` is not square."""
        return self.frame.height

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over all weights by name, in hexadecimal: what a result was made on."""
        digest = hashlib.sha256()
        for name, value in sorted(self.clip.state_dict().items()):
            digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def settle(self) -> DualEncoder:
        """Folds batch norms for reading and attacking, and compiles the image tower where the
        settings say so: not for a model that is to be trained. Raises InputError."""
        from explorer.models.fast.convolution import fold_norms

        height, width = self.frame.height, self.frame.width
        probe = torch.linspace(0, 1, 3 * height * width).reshape(1, 3, height, width)
        if any(isinstance(m, nn.BatchNorm2d) for m in self.clip.modules()):
            _ = self.fingerprint  # of the weights as they are on disk
            with torch.no_grad():
                fold_norms(self.clip, lambda: self.encode_image(probe))
        backend = current().compile
        if backend != "off":
            look: Callable[[Tensor], Tensor] = self.clip.encode_image  # type: ignore[assignment]
            self._compiled = torch.compile(look, backend=backend)
            try:
                self.encode_image(probe.requires_grad_(), fast=True).sum().backward()
            except Exception as error:  # noqa: BLE001 -- a compiler may fail in any way
                raise InputError(
                    f"EXPLORER_COMPILE={backend} does not work here for {self.card.id} "
                    f"({type(error).__name__}): set it to off") from None
        return self

    def _autocast(self, fast: bool) -> Any:
        if not fast or self.fast_dtype is None:
            return nullcontext()
        return torch.autocast(self.device.type, self.fast_dtype)

    def encode_image(self, pixels: Tensor, fast: bool = False) -> Tensor:
        """(N, 3, H, W) in [0, 1] -> (N, dim) unit float32 features; differentiable.

        fast: run in the device's low precision; attacks step with it, scores never use it. Where
        memory runs out, the batch is read in parts, but for a gradient: that is for `attack_room`.
        """
        if pixels.requires_grad:
            return self._image_features(pixels, fast)
        return self.image_room.apart(len(pixels),
                                     lambda rows: self._image_features(pixels[rows], fast))

    def look_again(self, pixels: Tensor) -> Tensor:
        """`encode_image` without a gradient, (N, dim) of (N, 3, H, W) on the processor: remembered
        for the batches seen last, since one picture is attacked in many ways. The same bits, as
        long as the same object reads the same batch by the same weights."""
        if "_seen" not in self.__dict__:  # a model of somebody's own, not made here
            with torch.no_grad():
                return self.encode_image(pixels)
        way = getattr(self.encode_image, "__func__", self.encode_image)
        weights = sum(p._version for p in self.clip.parameters())
        raw: Any = pixels.detach().cpu().contiguous().numpy()
        key = hashlib.blake2b(raw, digest_size=16).digest()
        if seen := self._seen.get(key):
            owner, *kept, known = seen
            if owner() is self and kept == [way, weights, pixels.shape]:
                again: Tensor = known.clone()
                return again
        with torch.no_grad():
            features = self.encode_image(pixels)
        self._seen[key] = (weakref.ref(self), way, weights, pixels.shape, features.clone())
        for old in list(self._seen)[:-SEEN]:
            self._seen.pop(old, None)  # other threads may have been here
        return features

    @cached_property
    def image_room(self) -> Room:
        """How many pictures a forward pass has room for."""
        return Room(current().batch)

    @cached_property
    def text_room(self) -> Room:
        """How many captions a forward pass has room for."""
        return Room()

    @cached_property
    def attack_room(self) -> Room:
        """How many pictures the steps of an attack have room for."""
        return Room(current().batch)

    def _image_features(self, pixels: Tensor, fast: bool) -> Tensor:
        x = (pixels.to(self.device) - self.mean) / self.std
        stepping = fast and pixels.requires_grad
        look = self._compiled or (self._once_cast() if stepping else None) or (
            self.clip.encode_image)
        with self._autocast(fast):
            y = look(x.contiguous(memory_format=torch.channels_last))  # type: ignore[operator]
        return F.normalize(y.float(), dim=1)

    def _once_cast(self) -> nn.Module | None:
        """The image tower with its weights in low precision, where that saves time."""
        plain = type(self.clip).__name__ in ("CLIP", "CustomTextCLIP")  # no more than the tower
        if not plain or self.device.type != "cpu" or self.fast_dtype is None:
            return None
        return self._cast.of(self.clip.visual, self.fast_dtype)  # type: ignore[arg-type]

    def tokens(self, captions: Sequence[str]) -> Tensor:
        """(K, L) token numbers on the device, without columns of padding that nothing looks at."""
        return without_padding(self.tokenize(list(captions)), self._pad).to(self.device)

    @cached_property
    def _pad(self) -> int | None:
        return padding(self.clip)

    def encode_text(self, captions: Sequence[str], batch: int = 64, fast: bool = False) -> Tensor:
        """Captions -> (K, dim) unit float32 features; remembered, no gradient.

        fast: read in the device's low precision; searches rank by it, scores never use it."""
        fast = fast and self.fast_dtype is not None
        known = {c: row for c in dict.fromkeys(captions)  # other threads may empty the cache
                 if (row := self._texts.get((c, fast))) is not None}
        fresh = [c for c in dict.fromkeys(captions) if c not in known]
        if fresh:
            tokens = self.tokenize(fresh)
            alike: dict[bytes, list[int]] = {}  # as those that differ beyond the last token
            for k, row in enumerate(tokens.cpu().numpy()):
                alike.setdefault(row.tobytes(), []).append(k)
            rows = list(alike.values())
            tokens = tokens[[same[0] for same in rows]]
            lengths = (tokens != (-1 if self._pad is None else self._pad)).sum(1)
            for part in lengths.argsort(stable=True).split(batch):  # of like length, less padding
                for row, feature in zip(part.tolist(), self._text_features(tokens[part], fast),
                                        strict=True):
                    for k in rows[row]:
                        known[fresh[k]] = self._texts[fresh[k], fast] = feature
        while len(self._texts) > TEXT_CACHE:
            self._texts.popitem(last=False)
        return torch.stack([known[c] for c in captions])

    @property
    def weights_bytes(self) -> int:
        return self._cast.weights_bytes + sum(
            value.numel() * value.element_size()
            for value in (*self.clip.parameters(), *self.clip.buffers()))

    @property
    def features_bytes(self) -> int:
        """Of the features of captions and pictures that are remembered."""
        rows = len(self._texts) + sum(len(seen[-1]) for seen in list(self._seen.values()))
        return rows * self.dim * 4

    def forget_features(self) -> None:
        self._texts.clear()
        self._seen.clear()

    def skim_text(self, captions: Sequence[str]) -> Tensor:
        """`encode_text` in low precision."""
        return self.encode_text(captions, fast=True)

    @torch.no_grad()
    def _text_features(self, tokens: Tensor, fast: bool) -> Tensor:
        tokens = without_padding(tokens, self._pad).to(self.device)

        def part(rows: slice) -> Tensor:
            with self._autocast(fast):
                y = read(self.clip, tokens[rows])
            return F.normalize(y.float(), dim=1)

        return self.text_room.apart(len(tokens), part)
