"""Recall and attack success by hand on tiny matrices, then with real attacks on small models."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers import Linear, grid_images
from PIL import Image
from sets import write_folder, write_zip
from torch import Tensor

from explorer.actions.cli import main
from explorer.analysis import retrieval
from explorer.analysis.retrieval import (
    Ranks,
    Recall,
    Success,
    evaluate_retrieval,
    image_ranks,
    recalls,
    stream_retrieval,
    successes,
    text_ranks,
    told_apart,
)
from explorer.attacks.engine import Step
from explorer.attacks.image.classic import PGD, Noise
from explorer.attacks.joint import SetGuided
from explorer.attacks.text.classic import Character
from explorer.base.errors import InputError
from explorer.base.intervals import wilson
from explorer.base.progress import Progress
from explorer.data.pairs import to_image
from explorer.data.sets import RetrievalSet, read_retrieval
from explorer.models.encoder import DualEncoder


def ranks(rows: list[list[float]], owner: list[int]) -> tuple[list[int], list[int]]:
    """(text ranks, image ranks) of a matrix of cosines, images x captions."""
    scores = torch.tensor(rows)
    images, whose = torch.eye(len(rows)), torch.tensor(owner)
    return (text_ranks(images, scores.T.contiguous(), whose).tolist(),
            image_ranks(images, scores.T.contiguous(), whose).tolist())


def test_ranks_by_hand() -> None:
    text, image = ranks([[0.9, 0.1, 0.8, 0.2],   # image 0 owns captions 0 and 1: first is right
                         [0.3, 0.4, 0.5, 0.1],   # image 1 owns 2: first is right
                         [0.7, 0.6, 0.2, 0.5]],  # image 2 owns 3: two captions come before it
                        [0, 0, 1, 2])
    assert text == [0, 0, 2]
    assert image == [0, 2, 1, 0]  # caption 1: images 2 and 1 before its own; caption 2: image 0


def test_the_best_own_caption_counts() -> None:
    assert ranks([[0.1, 0.9, 0.5], [0.0, 0.0, 0.4]], [0, 0, 1])[0] == [0, 0]
    assert ranks([[0.1, 0.4, 0.5], [0.0, 0.0, 0.4]], [0, 0, 1])[0] == [1, 0]


def test_ties_count_against_the_model() -> None:
    assert ranks([[0.5, 0.5], [0.5, 0.5]], [0, 1]) == ([1, 1], [1, 1])
    assert ranks([[0.5, 0.5 - 1e-8], [0.5 - 1e-8, 0.5]], [0, 1]) == ([1, 1], [1, 1])
    assert ranks([[0.5, 0.4999], [0.4999, 0.5]], [0, 1]) == ([0, 0], [0, 0])
    assert ranks([[0.5, 0.5], [0.5, 0.5]], [0, 0])[0] == [0, 2]  # no other's caption; none of one
    nan = float("nan")
    assert ranks([[nan, nan], [nan, nan]], [0, 1]) == ([1, 1], [1, 1])


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.nn.functional.normalize(torch.randn(23, 8, generator=generator), dim=1)
    texts = torch.nn.functional.normalize(torch.randn(41, 8, generator=generator), dim=1)
    owner = torch.arange(41) * 23 // 41
    whole = text_ranks(images, texts, owner), image_ranks(images, texts, owner)
    monkeypatch.setattr(retrieval, "CHUNK", 5)
    parts = text_ranks(images, texts, owner), image_ranks(images, texts, owner)
    assert all(map(torch.equal, whole, parts))
    scores = (images @ texts.T).double()
    for i, rank in enumerate(whole[0].tolist()):
        order = scores[i].argsort(descending=True)
        assert rank == next(k for k, c in enumerate(order) if owner[c] == i)
    for c, rank in enumerate(whole[1].tolist()):
        assert rank == scores[:, c].argsort(descending=True).tolist().index(int(owner[c]))


def numbers(text: list[int], image: list[int]) -> Ranks:
    return Ranks(torch.tensor(text), torch.tensor(image))


def test_recall_at_each_k_with_its_interval() -> None:
    found = recalls(numbers([0, 4, 5, 9, 10, 30], [0] * 5 + [1] * 7))
    assert [(r.direction, r.k, r.hits, r.n) for r in found] == [
        ("text", 1, 1, 6), ("text", 5, 2, 6), ("text", 10, 4, 6), ("image", 1, 5, 12),
        ("image", 5, 12, 12)]  # at 10 of 6 images every caption would hit
    assert found[2] == Recall("text", 10, 4, 6, 4 / 6, wilson(4, 6))


def test_attack_success_counts_only_what_was_right() -> None:
    before, after = numbers([0, 0, 0, 3], [0, 2, 0]), numbers([0, 1, 7, 0], [3, 0, 0])
    found = successes(before, after)
    assert found[0] == Success("text", 1, 2, 3, 2 / 3, wilson(2, 3))  # the fourth was wrong before
    assert found[-1] == Success("image", 1, 1, 2, 0.5, wilson(1, 2))
    nothing = successes(numbers([5], [5]), numbers([9], [9]))[0]
    assert (nothing.n, nothing.rate, nothing.ci95) == (0, 0.0, (0.0, 1.0))


# --- with models and attacks ----------------------------------------------------------------

WORDS = (("a red car", "one car"), ("a grey dog",), ("the open sea", "some water", "waves"),
         ("an old house",), ("two small cats", "cats at play"))


def pictures(size: int) -> Tensor:
    return grid_images(len(WORDS), size, seed=3)


@pytest.fixture
def five(tmp_path: Path) -> RetrievalSet:
    """Five pictures with one to three captions, and a sixth that cannot be read."""
    folder = tmp_path / "set"
    folder.mkdir()
    for i, image in enumerate(pictures(32)):
        to_image(image).save(folder / f"{i}.png")
    files = {f"{i}.txt": "\n".join(own).encode() for i, own in enumerate(WORDS)}
    return read_retrieval(write_folder(folder, {**files, "0b.png": b"damaged", "0b.txt": b"bad"}))


def test_clean_retrieval_is_what_the_matrices_say(tiny: DualEncoder, five: RetrievalSet) -> None:
    found = evaluate_retrieval(tiny, None, five, batch=2)
    assert (found.images, found.captions, found.skipped) == (5, 9, 1)
    assert found.attacked == () and found.success == ()
    with torch.no_grad():
        images = tiny.encode_image(pictures(32))
    owner = torch.tensor([i for i, own in enumerate(WORDS) for _ in own])
    texts = tiny.encode_text([text for own in WORDS for text in own])
    assert found.clean == recalls(Ranks.of(images, texts, owner))


def test_no_budget_no_success(tiny: DualEncoder, five: RetrievalSet) -> None:
    found = evaluate_retrieval(tiny, PGD(eps=0.0, steps=1), five, batch=2)
    assert found.attacked == found.clean
    assert {one.wrong for one in found.success} == {0}


@pytest.mark.parametrize("attack", [
    PGD(eps=8 / 255, steps=3), Character(), SetGuided(PGD(eps=8 / 255, steps=3),
                                                            Character())],
    ids=["image", "text", "joint"])
def test_attacks_of_every_kind(tiny: DualEncoder, five: RetrievalSet, attack: PGD) -> None:
    events = list(stream_retrieval(tiny, attack, five, batch=3))
    found = events[-1]
    assert isinstance(found, retrieval.Retrieval)
    assert [e.done for e in events if isinstance(e, Progress)] == [4, 6]
    assert any(isinstance(e, Step) for e in events)
    clean = evaluate_retrieval(tiny, None, five)
    assert found.clean == clean.clean  # batches and attacks leave the clean numbers alone
    again = evaluate_retrieval(tiny, attack, five, batch=3)
    assert (again.attacked, again.success) == (found.attacked, found.success)
    for before, after, success in zip(found.clean, found.attacked, found.success, strict=True):
        assert success.n == before.hits and after.n == before.n
        assert before.hits - after.hits <= success.wrong  # some may become right


class Matcher(Linear):
    """Knows which caption belongs to which picture: every one is found before an attack."""

    def encode_image(self, pixels: Tensor, fast: bool = False) -> Tensor:
        return torch.nn.functional.normalize(super().encode_image(pixels), dim=1)

    def encode_text(self, captions: object, batch: int = 64, fast: bool = False) -> Tensor:
        assert isinstance(captions, list | tuple)
        images = self.encode_image(torch.stack([self.seen[text[0]] for text in captions]))
        return images.detach()

    def tokenize(self, captions: list[str]) -> Tensor:
        return torch.arange(len(captions))[:, None]

    seen: dict[str, Tensor] = {}  # noqa: RUF012 - filled by the test, by the first letter


def matched(tmp_path: Path, n: int) -> tuple[Matcher, RetrievalSet]:
    model, images = Matcher(), grid_images(n, 4, seed=5)
    rows = ["image,caption"]
    (tmp_path / "set").mkdir()
    for letter, image in zip("abcdefgh", images, strict=False):
        picture: Image.Image = to_image(image)
        picture.save(tmp_path / "set" / f"{letter}.png")
        model.seen[letter] = image
        rows += [f"{letter}.png,{letter} one", f"{letter}.png,{letter} two"]
    write_folder(tmp_path / "set", {"set.csv": "\n".join(rows).encode()})
    return model, read_retrieval(tmp_path / "set" / "set.csv")


def test_a_strong_attack_breaks_what_was_found(tmp_path: Path) -> None:
    model, data = matched(tmp_path, 6)
    weak = evaluate_retrieval(model, Noise(eps=1 / 255), data)
    strong = evaluate_retrieval(model, PGD(eps=0.4, step=0.1, steps=10), data)
    assert [r.recall for r in strong.clean if r.k == 1] == [1.0, 1.0]
    assert [s.rate for s in weak.success if s.k == 1] == [0.0, 0.0]
    assert all(s.rate > 0.8 and s.n == n for s, n in
               zip([s for s in strong.success if s.k == 1], (6, 12), strict=True))


def test_one_image_is_no_retrieval(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "set.zip", {"a.png": b"x", "a.txt": b"a"})
    with pytest.raises(InputError, match="two images at least"):
        read_retrieval(path)


def test_a_batch_of_none(tiny: DualEncoder, five: RetrievalSet) -> None:
    with pytest.raises(InputError, match="at least 1 image"):
        evaluate_retrieval(tiny, None, five, batch=0)


TALE = "a photo of " + " ".join(["a cat near a dog"] * 30)


def captioned(folder: Path, *captions: tuple[str, ...]) -> RetrievalSet:
    folder.mkdir()
    for i, (image, own) in enumerate(zip(grid_images(len(captions), 32, seed=5), captions,
                                         strict=True)):
        to_image(image).save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text("\n".join(own))
    return read_retrieval(folder)


def test_what_a_model_cannot_tell_apart_is_left_out(tiny: DualEncoder, tmp_path: Path) -> None:
    """Image 0 keeps its other caption, 1 has none left; the same words twice stay, as a tie."""
    data = captioned(tmp_path / "a", (f"{TALE} x", "a cat"), (f"{TALE} y",), ("a dog", "one"),
                     ("A dog", "two"), ("six", f"{TALE} x"))
    kept, said = told_apart(tiny, data)
    assert kept.captions == ("a cat", "a dog", "one", "A dog", "two", "six")
    assert (kept.owner, kept.chosen) == ((0, 1, 1, 2, 2, 3), (0, 2, 3, 4))
    assert said == ("3 captions are left out for tiny, and with them 1 image: to it they are the "
                    "same as other captions that read differently.")
    same = captioned(tmp_path / "b", ("a cat",), ("a dog", "one"), ("A dog", "two"), ("six",))
    assert told_apart(tiny, same) == (same, "")
    found = evaluate_retrieval(tiny, None, data)
    assert (found.images, found.captions, found.skipped) == (4, 6, 0)
    with torch.no_grad():
        images = tiny.encode_image(grid_images(5, 32, seed=5)[[0, 2, 3, 4]])
    texts = tiny.encode_text(kept.captions)
    assert found.clean == recalls(Ranks.of(images, texts, torch.tensor(kept.owner)))


def test_a_set_of_captions_that_are_all_the_same_is_refused(tiny: DualEncoder, tmp_path: Path,
                                                            ) -> None:
    data = captioned(tmp_path / "a", (f"{TALE} x",), (f"{TALE} y",), ("a dog",))
    with pytest.raises(InputError, match="nothing can be judged on a: 2 captions are left out for "
                       "tiny, and with them 2 images"):
        evaluate_retrieval(tiny, None, data)


def test_own_captions_may_be_the_same(tiny: DualEncoder, tmp_path: Path) -> None:
    data = captioned(tmp_path / "a", (f"{TALE} x", f"{TALE} y"), ("a dog",))
    assert told_apart(tiny, data) == (data, "")


def test_an_evaluation_says_which_captions_are_left_out(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    captioned(tmp_path / "set", (f"{TALE} x", "a cat"), (f"{TALE} y",), ("a dog",), ("six",))
    assert main(["evaluate", "--task", "retrieval", "--data", str(tmp_path / "set"), "--models",
                 "pocket", "--attacks", "clean", "--out", str(tmp_path / "t.json")]) == 0
    assert "2 captions are left out for pocket, and with them 1 image" in capsys.readouterr().out
