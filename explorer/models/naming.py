"""What a person may call things: a model by an id, a folder, hf-hub:NAME or
open_clip:ARCHITECTURE:TAG; a norm."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path

from explorer.base.errors import InputError
from explorer.models.cards import Card, card_of_folder, read_json

CONFIG = "open_clip_config.json"
SCHEMES = ("local-dir", "hf-hub", "open_clip", "transformers")
FEW = 6
WEIGHTS = (".pt", ".pth", ".bin", ".ckpt", ".tar", ".safetensors")


def norm_named(text: str) -> str:
    """"L2", "l_2", "Linf", "L-inf", "inf" -> linf or l2; anything else as it is."""
    low = "".join(c for c in text.lower() if c.isalnum() or c == "∞").replace("∞", "inf")
    return {"2": "l2", "inf": "linf", "linfinity": "linf", "infinity": "linf"}.get(low, low)


def nearest(name: str, known: Iterable[str]) -> str:
    """"; did you mean X?" where one of the known names is near, else "; known are ..."."""
    names = list(known)
    low = {n.lower(): n for n in reversed(names)}
    found = get_close_matches(name.lower(), low, 1, 0.6)
    return f"; did you mean '{low[found[0]]}'?" if found else f"; known are {', '.join(names)}"


def own_card(name: str) -> Card | None:
    """The card of a model that no list names: a folder with or without local-dir: before it, or a
    source with its scheme. None: the name says neither. Raises InputError for a wrong one."""
    scheme, colon, rest = name.partition(":")
    if colon and scheme in SCHEMES:
        if not rest:
            raise InputError(f"there is nothing behind '{name}': add the model's name")
        if scheme == "local-dir":
            return card_of_place(Path(rest))
        if scheme == "open_clip":
            _check_tag(rest)
        if scheme == "transformers" and Path(rest).expanduser().is_dir():
            return card_of_place(Path(rest))
        return Card(name, rest, "standard", name, "not stated", "Named by its source.",
                    architecture=rest.partition(":")[0] if scheme == "open_clip" else None)
    path = Path(name).expanduser()
    if not name:
        return None
    if path.is_dir() or (path.is_file() and path.suffix.lower() in WEIGHTS):
        return card_of_place(path)
    if "://" in name:
        raise InputError(f"no address is read, such as {name[:100]}: download the model, or write "
                         "hf-hub:NAME for one of the Hugging Face hub")
    architecture = _architecture(name.replace("/", "-"))
    if "/" in name and not architecture:
        if path.is_absolute() or name[0] in ".~" or path.parent.is_dir():
            raise InputError(f"there is no model folder {name[:200]}")
        raise InputError(f"there is no model '{name[:200]}': for one of the Hugging Face hub, "
                         f"write hf-hub:{name[:200]}")
    return None


def _architecture(name: str) -> str | None:
    """open_clip's name of an architecture, whatever the case."""
    import open_clip

    return next((n for n in open_clip.list_models() if n.lower() == name.lower()), None)


def card_of_place(path: Path) -> Card:
    """The card of a model's folder, or of a file in one. Raises InputError that says what to do."""
    folder = path.expanduser().resolve()
    if folder.is_file():
        if folder.suffix == ".safetensors" and (folder.parent / CONFIG).is_file():
            folder = folder.parent
        else:
            raise InputError(f"{path.name} is a file of weights alone: make a model folder of it "
                             f"with `python -m explorer convert {path} --out FOLDER`")
    if (folder / CONFIG).is_file() or not folder.is_dir():
        return card_of_folder(folder)
    if (folder / "config.json").is_file() and "model_type" in read_json(folder / "config.json"):
        source = f"transformers:{folder}"
        return Card(source, folder.name, "standard", source, "not stated", "A folder of yours.")
    files = sorted(f.name for f in folder.iterdir() if f.suffix.lower() in WEIGHTS)
    if files:
        raise InputError(f"the model folder {folder.name} has no {CONFIG}, only weights "
                         f"({files[0]}): make a model of them with `python -m explorer convert "
                         f"{folder / files[0]} --out FOLDER`")
    raise InputError(f"there is no model in the folder {path}: it has no {CONFIG}")


def _check_tag(rest: str) -> None:
    """Raises InputError unless open_clip has weights under ARCHITECTURE:TAG."""
    import open_clip

    architecture, _, tag = rest.partition(":")
    names = open_clip.list_models()
    if architecture not in names:
        raise InputError(f"open_clip has no architecture '{architecture[:60]}'"
                         f"{_few(nearest(architecture, names))}")
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if tag.lower() not in tags:
        more = ", ..." if len(tags) > FEW else ""
        raise InputError(f"open_clip has no weights '{tag[:60]}' of {architecture}"
                         f"{nearest(tag, tags[:FEW]) if tags else ': none are published'}{more}")


def _few(said: str) -> str:
    """Without a list of all of open_clip's names."""
    return said if "did you mean" in said else ": see open_clip.list_models()"


def card_among(name: str, cards: Mapping[str, Card]) -> Card:
    """Of the listed ones, whatever its case. Raises InputError that suggests the nearest."""
    if name in cards:
        return cards[name]
    alike = [key for key in cards if key.lower() == name.lower()]
    if len(alike) == 1:
        return cards[alike[0]]
    if architecture := _architecture(name.replace("/", "-")):
        import open_clip

        tags = open_clip.list_pretrained_tags_by_model(architecture)
        raise InputError(f"'{name[:60]}' is an architecture of open_clip and no model: add its "
                         f"weights, such as open_clip:{architecture}:{(tags or ['TAG'])[0]}")
    raise InputError(f"there is no model '{name[:200]}'{nearest(name, cards)}")
