"""Which architecture a file of weights has: what the flags say, else a config beside the file, else
the only one of open_clip's that fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from explorer.base.errors import InputError
from explorer.base.framing import Intake, read_intake
from explorer.models import clip_names as clipnames
from explorer.models.cards import read_json
from explorer.models.checkpoints import Part
from explorer.models.folders import base_config, base_folder
from explorer.models.library import Library
from explorer.models.loaders import CONFIG, open_model
from explorer.models.naming import nearest
from explorer.models.transformers_clip import check_kind
from explorer.models.transformers_clip import intake as hugging_intake


@dataclass
class Draft:
    """A model on its way. config: open_clip's; folders: where its tokenizer may lie; base: the
    weights that the file does not have; notes: what to tell."""

    config: dict[str, Any]
    folders: list[Path]
    base: Mapping[str, Tensor] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Asked:
    """arch: a name of open_clip's or a JSON file with its config; base: a model's name; take: the
    part of the file; kind: "standard" or "robust", for the card."""

    arch: str | None = None
    base: str | None = None
    take: str | None = None
    kind: str = "standard"


def draft_of(parts: Sequence[Part], place: Path, name: str, asked: Asked, library: Library,
             ) -> Draft:
    """What the flags say, else a config beside the file, else the one that fits the shapes."""
    if asked.base is not None:
        return _from_base(asked.base, library)
    if parts[0].kind != "whole" and len(parts) == 1:
        raise InputError(f"{name} holds {'an' if parts[0].kind == 'image' else 'a'} "
                         f"{parts[0].kind} tower alone: say with --base which model the other "
                         "tower is of, such as --base open_clip:ViT-B-32-quickgelu:openai")
    if asked.arch is not None:
        return _as_trained(_from_arch(asked.arch, place), parts, asked.arch)
    if (place / CONFIG).is_file():
        config = read_json(place / CONFIG)
        return Draft(config, [place], notes=[f"The architecture is that of {CONFIG} beside it."])
    if (place / "config.json").is_file() and clipnames.of_transformers(parts[0].weights):
        config = read_json(place / "config.json")
        check_kind(config, place.name)
        cfg = clipnames.model_cfg(config, place.name)
        pre = hugging_intake(place, cfg["vision_cfg"]["image_size"])
        return Draft({"model_cfg": cfg, "preprocess_cfg": pre.config()}, [place],
                     notes=["The architecture is that of config.json beside it."])
    return _guessed(parts, place, name)


def _from_base(base: str, library: Library) -> Draft:
    card = library.card(base)
    model = open_model(card, "cpu")
    folder = base_folder(card)
    if card.source.startswith("transformers:"):
        folder = Path(card.source.partition(":")[2])
        cfg = clipnames.model_cfg(read_json(folder / "config.json"), folder.name)
        raw = {"model_cfg": cfg}
        state = clipnames.to_open_clip(model.clip.model.state_dict(), "whole")  # type: ignore[union-attr]
    else:
        raw, state = base_config(card, model), model.clip.state_dict()
    pre = Intake(model.frame, _three(model.mean), _three(model.std))
    return Draft({**raw, "preprocess_cfg": pre.config()}, [folder] if folder else [], state)


def _three(value: Tensor) -> tuple[float, float, float]:
    a, b, c = value.flatten().tolist()
    return a, b, c


def _from_arch(arch: str, place: Path) -> Draft:
    import open_clip

    path = Path(arch)
    if path.suffix == ".json" and path.is_file():
        raw = read_json(path)
        config = raw if "model_cfg" in raw else {"model_cfg": raw}
        return Draft(config, [path.parent, place])
    cfg = open_clip.get_model_config(arch)
    if cfg is None:
        names = open_clip.list_models()
        near = nearest(arch, names)
        raise InputError(f"open_clip has no architecture '{arch[:60]}'"
                         f"{near if 'did you' in near else ': see open_clip.list_models()'}")
    pre, said = _usual(arch, cfg)
    return Draft({"model_cfg": cfg, "preprocess_cfg": pre.config()}, [place], notes=[said])


def _as_trained(draft: Draft, parts: Sequence[Part], arch: str) -> Draft:
    """With QuickGELU where the file is OpenAI's own, which its numbers beside the weights tell: an
    architecture without it would answer, and wrongly."""
    cfg = draft.config["model_cfg"]
    if parts[0].scalars and not cfg.get("quick_gelu") and not arch.endswith(".json"):
        cfg["quick_gelu"] = True
        draft.notes.append("The file is OpenAI's own, which was trained with QuickGELU: the model "
                           f"is made with it, as {arch}-quickgelu.")
    return draft


def _usual(arch: str, cfg: Mapping[str, Any]) -> tuple[Intake, str]:
    """How the published weights of an architecture take pictures, where they agree; else CLIP's
    own way, and the sentence that says so."""
    import open_clip

    size = cfg["vision_cfg"].get("image_size", 224)
    tags = open_clip.list_pretrained_tags_by_model(arch)
    ways = {read_intake(size, open_clip.get_pretrained_cfg(arch, tag), arch) for tag in tags}
    if len(ways) == 1:
        (way,) = ways
        return way, (f"Pictures are taken as by the published weights of {arch}: "
                     f"{way.frame.mode}, {way.frame.interpolation}, mean {way.mean}, std "
                     f"{way.std}.")
    way = read_intake(size, {}, arch)
    why = ("published weights of it differ in that" if ways else
           "no published weights say otherwise")
    return way, ("Pictures are taken as by OpenAI's CLIP: the shorter side fits, bicubic, its mean "
                 f"and std ({why}; if yours differ, edit preprocess_cfg in {CONFIG}).")


def _guessed(parts: Sequence[Part], place: Path, name: str) -> Draft:
    """The one architecture of open_clip's whose shapes are those of the file."""
    import open_clip

    weights = open_clip_names(parts[0])
    mine, able = _signature(weights), list[str]()
    for arch in open_clip.list_models() if mine else ():
        if _of_config(open_clip.get_model_config(arch)) == mine:
            able.append(arch)
    if parts[0].scalars and len(able) > 1:  # OpenAI's own file
        able = [arch for arch in able if arch.endswith("-quickgelu")] or able
    if len(able) == 1:
        draft = _from_arch(able[0], place)
        draft.notes.insert(0, f"The architecture is {able[0]}, by the shapes of the weights.")
        return draft
    if able:
        raise InputError(f"the weights of {name} fit {', '.join(able)}: say which with --arch "
                         "(quickgelu: trained by OpenAI, or fine-tuned from OpenAI's weights)")
    raise InputError(f"the architecture of {name} is not clear from its weights: say it with "
                     "--arch (a name of open_clip, or its config as a .json file) or --base")


def _signature(weights: Mapping[str, Tensor]) -> tuple[int, ...] | None:
    """Widths and depths of a CLIP with two of open_clip's own transformers; None for another."""
    under = "text." if any(key.startswith("text.") for key in weights) else ""
    try:
        conv, grid = weights["visual.conv1.weight"], weights["visual.positional_embedding"]
        words, places = (weights[f"{under}{k}"] for k in ("token_embedding.weight",
                                                          "positional_embedding"))
        side = round((grid.shape[0] - 1) ** 0.5) * conv.shape[-1]
        return (weights["visual.proj"].shape[1], conv.shape[0], conv.shape[-1], side,
                _depth(weights, "visual.transformer."), words.shape[1], words.shape[0],
                places.shape[0], _depth(weights, f"{under}transformer."))
    except (KeyError, IndexError):
        return None


def _depth(weights: Mapping[str, Tensor], start: str) -> int:
    return len({key[len(start):].split(".")[1] for key in weights
                if key.startswith(f"{start}resblocks.")})


def _of_config(cfg: Mapping[str, Any]) -> tuple[int, ...] | None:
    v, t = cfg["vision_cfg"], cfg["text_cfg"]
    if "timm_model_name" in v or "hf_model_name" in t or not isinstance(v.get("layers"), int):
        return None
    return (cfg["embed_dim"], v.get("width", 768), v.get("patch_size", 16), v["image_size"],
            v["layers"], t.get("width", 512), t.get("vocab_size", 49408),
            t.get("context_length", 77), t.get("layers", 12))


def open_clip_names(part: Part) -> dict[str, Tensor]:
    if clipnames.of_transformers(part.weights):
        return clipnames.to_open_clip(part.weights, part.kind)
    return part.weights
