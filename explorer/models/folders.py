"""The folder and the config of a model that is at hand: what a model made from it starts with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from explorer.base.errors import InputError
from explorer.models.cards import Card, read_json
from explorer.models.encoder import DualEncoder
from explorer.models.loaders import CONFIG


def base_folder(card: Card) -> Path | None:
    """The folder on this machine with a base's config and tokenizer, None for a built-in one."""
    scheme, _, rest = card.source.partition(":")
    if scheme == "local-dir":
        return Path(rest)
    if scheme == "hf-hub":
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(rest, local_files_only=True))
    return None


def base_config(card: Card, model: DualEncoder) -> dict[str, Any]:
    """open_clip's config of a base. Raises InputError for a base that has none."""
    folder = base_folder(card)
    if folder is not None:
        return read_json(folder / CONFIG)
    scheme, _, rest = card.source.partition(":")
    if scheme != "open_clip":
        raise InputError(f"{card.id} is no open_clip model, so it cannot be fine-tuned and saved "
                         "as one: choose another base")
    import open_clip
    from open_clip.transformer import QuickGELU

    architecture = rest.partition(":")[0]
    config = open_clip.get_model_config(architecture)
    if config is None:
        raise InputError(f"open_clip does not know the architecture {architecture}")
    if any(isinstance(m, QuickGELU) for m in model.clip.modules()):
        config["quick_gelu"] = True  # some weights ask for it beside their config
    pre = {"mean": model.mean.flatten().tolist(), "std": model.std.flatten().tolist(),
           **model.frame.config()}
    return {"model_cfg": config, "preprocess_cfg": pre}
