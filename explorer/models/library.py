"""All models that can be asked for by id, and those in memory.

`Library.load` turns a card into a `DualEncoder`. Weights load strictly: a model whose weights are
missing or do not fit is refused, never left random.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from explorer.base.errors import InputError
from explorer.base.paths import ASSETS
from explorer.models.cards import Card, card_of, card_of_folder, read_json
from explorer.models.encoder import DualEncoder
from explorer.models.naming import card_among, own_card

RESTS = 900.0  # seconds after which a model that nobody asks for may go

class Library:
    """All models that can be asked for by id, and those already loaded (at most `keep`).

    listed_only: refuse folders and addresses that are not listed, where strangers do the asking.
    """

    def __init__(self, folders: Sequence[Path] = (), assets: Path = ASSETS, keep: int = 4,
                 listed_only: bool = False) -> None:
        self.folders, self.assets, self.keep = list(folders), assets, keep
        self.listed_only = listed_only
        for folder in self.folders:
            if not folder.is_dir():
                raise InputError(f"there is no models folder {folder}")
        self._loaded: OrderedDict[tuple[str, str | None], DualEncoder] = OrderedDict()
        self._used: dict[tuple[str, str | None], float] = {}  # when each was last asked for
        self._lock, self._opening = threading.Lock(), dict[tuple[str, str | None], threading.Lock]()

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
        """The card of an id, or, unless `listed_only`, of a folder, hf-hub:NAME,
        open_clip:ARCHITECTURE:TAG or transformers:NAME. Raises InputError for anything else."""
        cards, name = self.cards(), name.strip()
        if name in cards:
            return cards[name]
        for root in [self.assets / "models", *self.folders]:
            if name == Path(name).name and (root / name / "open_clip_config.json").is_file():
                return card_of_folder(root / name)  # says what is wrong with it
        own = None if self.listed_only else own_card(name)
        return own or card_among(name, cards)

    def pairs(self) -> list[tuple[str, str]]:
        """(standard, robust) ids that belong together, embedded first."""
        cards = self.cards()
        return [(c.base, c.id) for c in cards.values() if c.base in cards]

    def loaded(self) -> list[str]:
        """Ids of the models in memory now, the last used last."""
        return [name for name, _ in list(self._loaded)]

    def weights_bytes(self) -> int:
        """Of the models in memory."""
        return sum(model.weights_bytes for model in list(self._loaded.values()))

    def features_bytes(self) -> int:
        """Of the features of captions and pictures that they remember."""
        return sum(model.features_bytes for model in list(self._loaded.values()))

    def rest(self, keep: Sequence[str] = (), seconds: float = RESTS) -> list[str]:
        """Drops the models that nobody asked for in so many seconds, but for those to keep, and
        what these remember of captions and pictures; returns the names that went."""
        with self._lock:
            late = time.monotonic() - seconds
            old = [key for key in self._loaded if self._used[key] < late]
            for key in old:
                if key[0] in keep:
                    self._loaded[key].forget_features()
                else:
                    del self._loaded[key], self._used[key]
            return [name for name, _ in old if name not in keep]

    def load(self, name: str, device: str | None = None) -> DualEncoder:
        """The model of a name that `card` takes, loaded once and kept; safe between threads."""
        key = (name, device)
        with self._lock:
            opening = self._opening.setdefault(key, threading.Lock())
        with opening:  # one at a time each: others may be opened beside it
            with self._lock:
                if key in self._loaded:
                    self._used[key] = time.monotonic()
                    self._loaded.move_to_end(key)
                    return self._loaded[key]
            from explorer.models.loaders import open_model

            model = open_model(self.card(name), device).settle()
            with self._lock:
                self._loaded[key], self._used[key] = model, time.monotonic()
                while len(self._loaded) > max(1, self.keep):
                    gone, _ = self._loaded.popitem(last=False)
                    del self._used[gone]
            return model
