"""The stage that hardens the robust model's text tower, on a few pictures in the true layout."""

from __future__ import annotations

import io
import json
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import Tensor

from explorer.attacks.text.classic import BertAttack
from explorer.base.words import words_changed
from explorer.models.library import Library
from tools.pocket import harden
from tools.pocket.harden import Exchanges, TextRecipe, TextStage, one_moved, slip
from tools.pocket.words import class_names

CLASSES = {"n01": ("goldfish", "fish"), "n02": ("tabby cat", "cat"), "n03": ("lamp", "light"),
           "n04": ("zebra", "animal")}
SMALL = TextRecipe(steps=3, pictures=5, batch=4, others=3, refresh=1, said=2, heard=2)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Four classes by name, pictures of three."""
    (tmp_path / "wordnet_classes.json").write_text(json.dumps({
        wnid: {"names": [name], "hypernyms": [above]} for wnid, (name, above) in CLASSES.items()}))
    cells = []
    for i in range(6):
        buffer = io.BytesIO()
        Image.new("RGB", (64, 64), (40 * i, 90, 255 - 40 * i)).save(buffer, "png")
        cells.append({"bytes": buffer.getvalue()})
    pq.write_table(pa.table({"image": cells, "wnid": ["n04", "n01", "n02"] * 2}),
                   tmp_path / "tiny_imagenet_train.parquet")
    pq.write_table(pa.table({"captions": [
        ["a dog runs", "a brown dog"], ["a man rides"], ["a boy " + "very " * 16 + "tall"]]}),
                   tmp_path / "flickr8k_train.parquet")
    return tmp_path


def test_captions_of_people_are_of_different_photos_and_not_long(data: Path) -> None:
    found = harden.said_of_people(data, 2, seed=0)
    assert "a man rides" in found and {"a dog runs", "a brown dog"} & set(found)
    assert found == harden.said_of_people(data, 2, seed=0)


def test_class_numbers_are_in_the_order_of_the_names(data: Path) -> None:
    assert class_names(data) == ["goldfish", "tabby cat", "zebra"]


def test_one_attacked_caption_among_clean_ones_by_hand() -> None:
    """A picture on its clean caption (1, 0) whose caption moved to (0.6, 0.8)."""
    clean, attacked = torch.eye(2), torch.tensor([[0.6, 0.8], [1.0, 0.0]])
    found = one_moved(torch.tensor([[1.0, 0.0]]), clean, attacked, torch.tensor([0]),
                      torch.tensor(10.0))
    by_hand = -torch.log(torch.exp(torch.tensor(6.0)) / (torch.exp(torch.tensor(6.0)) + 1))
    torch.testing.assert_close(found, by_hand)


def test_the_worst_exchange_is_the_one_farthest_from_the_caption(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def proposals(self: BertAttack, captions: list[str], random: object) -> list[list[list[str]]]:
        return [[[], ["dog", "cow", "hen"]], [[], []]]

    monkeypatch.setattr(BertAttack, "proposals", proposals)
    places = {"a cat": [1.0, 0.0], "a dog": [0.8, 0.6], "a cow": [-1.0, 0.0], "a hen": [0.0, 1.0],
              "no change": [0.0, 1.0]}
    found = Exchanges(["a cat", "no change"])
    assert found.made == [["a dog", "a cow", "a hen"], ["no change"]]
    found.search(lambda texts: torch.tensor([places[t] for t in texts]), top=2)
    assert found.worst == [["a cow", "a hen"], ["no change"]]


def test_a_slip_changes_one_word() -> None:
    made = {slip("a photo of a goldfish", Random(i)) for i in range(9)}
    assert all(words_changed("a photo of a goldfish", text) == 1 for text in made)
    assert len(made) > 3


class Stopped(Exception):
    """Stands for a kill."""


def test_the_stage_moves_its_tower_and_goes_on_where_it_was_stopped(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A run stopped before its third step ends, taken up again, with the weights of one that was
    not; neither the token table nor the anchor moves."""
    monkeypatch.setattr(harden, "PATIENCE", 1)
    works = [tmp_path / "whole", tmp_path / "stopped"]
    for work in works:
        work.mkdir()
    whole = TextStage(SMALL, Library(), data, works[0])
    before = {k: v.clone() for k, v in whole.tower.state_dict().items()}
    whole.run()
    moved = [k for k, v in whole.tower.state_dict().items() if not torch.equal(v, before[k])]
    assert moved and not any("word_embeddings" in k for k in moved)
    assert all(torch.equal(v, before[k]) for k, v in whole.frozen.state_dict().items())

    stopped = TextStage(SMALL, Library(), data, works[1])
    loss = stopped.loss

    def until_two() -> tuple[Tensor, dict[str, float]]:
        if stopped.step == 2:
            raise Stopped
        return loss()

    monkeypatch.setattr(stopped, "loss", until_two)
    with pytest.raises(Stopped):
        stopped.run()
    again = TextStage(SMALL, Library(), data, works[1])
    again.run()
    assert again.step == whole.step == SMALL.steps
    for name, value in whole.ema.items():
        assert torch.equal(value, again.ema[name]), name

    final = torch.load(works[0] / "robust-text.final.pt", weights_only=True)["weights"]
    name = max(moved, key=lambda k: float((whole.ema[k] - before[k]).abs().max()))
    torch.testing.assert_close(final[name], 0.8 * whole.ema[name] + 0.2 * before[name])
