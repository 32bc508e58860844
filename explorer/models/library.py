"""CLIP as two functions: pixels in [0, 1] and strings in, unit features out.

`Library.load` turns a card into a `DualEncoder`. Weights load strictly: a model whose weights are
missing or do not fit is refused, never left random.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from explorer.models.fast import attention as fastattention
from explorer.models.cards import Card, card_of, card_of_folder, read_json
from explorer.base.errors import InputError
from explorer.base.memory import Room
from explorer.models.fast.padding import padding, read, without_padding
from explorer.base.settings import current

ASSETS = Path(__file__).resolve().parent.parent / "assets"
TEXT_CACHE = 20_000


def device_and_dtype(device: str | None = None) -> tuple[torch.device, torch.dtype | None]:
    """The best device, and the dtype in which attack steps may run there (None: float32)."""
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if chosen.type == "cuda":
        # Never float16: without loss scaling, gradients of pixels underflow to zero there, and
        # attacks look weaker than they are.
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
        return chosen, torch.bfloat16 if fast else None
    from torch.backends import cpu

    fast = "AVX512" in cpu.get_cpu_capability() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return chosen, torch.bfloat16 if fast else None


def describe_device() -> str:
    """One line for a person, such as "CPU, 2 threads, bfloat16 attack steps"."""
    device, dtype = device_and_dtype()
    fast = f", {str(dtype).removeprefix('torch.')} attack steps" if dtype else ""
    if device.type == "cuda":
        return f"GPU {torch.cuda.get_device_name(device)}{fast}"
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'s' if threads > 1 else ''}{fast}"


class DualEncoder:
    """A CLIP model with its weights frozen, its normalisation inside, and eval mode set.

    Attributes: card; size: input side in pixels; scale: exp(logit scale); dim: feature size.
    """

    def __init__(
        self, clip: nn.Module, tokenize: Callable[[list[str]], Tensor], card: Card,
        size: int, mean: Sequence[float], std: Sequence[float], device: str | None = None,
    ) -> None:
        self.card, self.size, self.tokenize = card, size, tokenize
        self.device, self.fast_dtype = device_and_dtype(device)
        self.clip = clip.eval().requires_grad_(False).to(self.device)
        fastattention.speed_up(self.clip)
        if self.device.type == "cpu":
            from explorer.models.fast import convolution as fastconv

            fastconv.speed_up(self.clip)
        visual = self.clip.visual
        assert isinstance(visual, nn.Module)
        visual.to(memory_format=torch.channels_last)
        self.mean = torch.tensor(mean, device=self.device).view(1, 3, 1, 1)
        self.std = torch.tensor(std, device=self.device).view(1, 3, 1, 1)
        self._compiled: Callable[[Tensor], Tensor] | None = None
        self.scale = float(self.clip.logit_scale.exp())  # type: ignore[operator]
        self._texts: OrderedDict[tuple[str, bool], Tensor] = OrderedDict()
        self.dim = self.encode_text(["a photo"]).shape[1]

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

        probe = torch.linspace(0, 1, 3 * self.size**2).reshape(1, 3, self.size, self.size)
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
        """(N, 3, size, size) in [0, 1] -> (N, dim) unit float32 features; differentiable.

        fast: run in the device's low precision; attacks step with it, scores never use it. Where
        memory runs out, the batch is read in parts, but for a gradient: that is for `climbs`.
        """
        if pixels.requires_grad:
            return self._image_features(pixels, fast)
        return self.looks.apart(len(pixels), lambda rows: self._image_features(pixels[rows], fast))

    @cached_property
    def looks(self) -> Room:
        """How many pictures a forward pass has room for."""
        return Room(current().batch)

    @cached_property
    def reads(self) -> Room:
        """How many captions a forward pass has room for."""
        return Room()

    @cached_property
    def climbs(self) -> Room:
        """How many pictures the steps of an attack have room for."""
        return Room(current().batch)

    def _image_features(self, pixels: Tensor, fast: bool) -> Tensor:
        x = (pixels.to(self.device) - self.mean) / self.std
        look = self._compiled or self.clip.encode_image
        with self._autocast(fast):
            y = look(x.contiguous(memory_format=torch.channels_last))  # type: ignore[operator]
        return F.normalize(y.float(), dim=1)

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
            lengths = (tokens != (-1 if self._pad is None else self._pad)).sum(1)
            for part in lengths.argsort(stable=True).split(batch):  # of like length, less padding
                for row, feature in zip(part.tolist(), self._text_features(tokens[part], fast),
                                        strict=True):
                    known[fresh[row]] = self._texts[fresh[row], fast] = feature
        while len(self._texts) > TEXT_CACHE:
            self._texts.popitem(last=False)
        return torch.stack([known[c] for c in captions])

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

        return self.reads.apart(len(tokens), part)


class Library:
    """All models that can be asked for by id, and those already loaded (at most `keep`).

    listed_only: refuse local-dir:FOLDER unless it is listed, where strangers do the asking.
    """

    def __init__(self, folders: Sequence[Path] = (), assets: Path = ASSETS, keep: int = 4,
                 listed_only: bool = False) -> None:
        self.folders, self.assets, self.keep = list(folders), assets, keep
        self.listed_only = listed_only
        for folder in self.folders:
            if not folder.is_dir():
                raise InputError(f"there is no models folder {folder}")
        self._loaded: OrderedDict[tuple[str, str | None], DualEncoder] = OrderedDict()
        self._lock = threading.Lock()

    def cards(self) -> dict[str, Card]:
        """Embedded models, then fine-tuned folders, then those of assets/models/cards.json; of
        two with the same id, the first."""
        found: dict[str, Card] = {}
        for root in [self.assets / "models", *self.folders]:
            for config in sorted(root.glob("*/open_clip_config.json")):
                try:
                    card = card_of_folder(config.parent)
                except InputError:
                    continue  # one damaged folder must not hide the others; see `card`
                found.setdefault(card.id, card)
        listed = self.assets / "models" / "cards.json"
        if listed.is_file():
            entries = read_json(listed).get("cards")
            if not isinstance(entries, list):
                raise InputError("cards.json has no list of cards")
            for number, raw in enumerate(entries):
                card = card_of(raw, f"card {number} of cards.json")
                found.setdefault(card.id, card)
        return found

    def card(self, name: str) -> Card:
        """The card of an id, or of local-dir:FOLDER. Raises InputError for anything else."""
        if name.startswith("local-dir:") and not self.listed_only:
            return card_of_folder(Path(name.removeprefix("local-dir:")).expanduser().resolve())
        cards = self.cards()
        if name not in cards:
            for root in [self.assets / "models", *self.folders]:
                if name == Path(name).name and (root / name / "open_clip_config.json").is_file():
                    return card_of_folder(root / name)  # says what is wrong with it
            raise InputError(f"there is no model '{name[:200]}'; known are {', '.join(cards)}")
        return cards[name]

    def pairs(self) -> list[tuple[str, str]]:
        """(standard, robust) ids that belong together, embedded first."""
        cards = self.cards()
        return [(c.base, c.id) for c in cards.values() if c.base in cards]

    def loaded(self) -> list[str]:
        """Ids of the models in memory now, the last used last."""
        return [name for name, _ in list(self._loaded)]

    def load(self, name: str, device: str | None = None) -> DualEncoder:
        """The model of an id or local-dir:FOLDER, loaded once and kept; safe between threads."""
        with self._lock:
            key = (name, device)
            if key not in self._loaded:
                from explorer.models.loaders import open_model

                self._loaded[key] = open_model(self.card(name), device).settle()
                while len(self._loaded) > max(1, self.keep):
                    self._loaded.popitem(last=False)
            self._loaded.move_to_end(key)
            return self._loaded[key]
