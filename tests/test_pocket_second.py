"""The second edition's stages: losses by hand, queues, bounds, and going on where a run stopped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tools.pocket import guard, second, speak, terms
from tools.pocket.base import SECOND, ImageTower, TextHead
from tools.pocket.corpus import Known
from tools.pocket.widen import widen
from tools.pocket.words import Vocabulary


class Trunk(nn.Module):
    """A small trunk with timm's ways in and out."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem = nn.Conv2d(3, 8, 8, stride=8)
        self.bn1 = nn.BatchNorm2d(8)
        self.blocks = nn.ModuleList([nn.Conv2d(8, 1280, 1)])

    def forward_features(self, x: Tensor) -> Tensor:
        y: Tensor = self.blocks[0](self.bn1(self.conv_stem(x)).relu())
        return y

    def forward_head(self, x: Tensor, pre_logits: bool) -> Tensor:
        assert pre_logits
        return x.mean((2, 3))


def corpus() -> terms.Corpus:
    rng = np.random.default_rng(0)
    generator = torch.Generator().manual_seed(0)

    def texts(*shape: int) -> Tensor:
        return torch.randn(*shape, 384, generator=generator)

    def pictures(n: int, side: int) -> np.ndarray:
        return rng.integers(0, 256, (n, side, side, 3), dtype=np.uint8)

    members = torch.zeros(6, 1000, dtype=torch.bool)
    members[torch.arange(4), torch.arange(4)] = True
    members[4, :2] = True
    members[5, 2:4] = True
    words = Vocabulary(list("abcdef"), members, torch.arange(1000) % 4, texts(6, 2))
    even = torch.full((12, 1000), 1e-3).half()
    return terms.Corpus(
        pictures(12, 176), texts(12, 5), even, pictures(8, 176), torch.arange(8) % 3, texts(3, 2),
        even[:8], pictures(10, 64), torch.arange(10) % 4, even[:10], words)


SMALL = terms.Speech("small", steps=4, flickr=4, tiny=3, photos=2, others=5, queue=6, still=1,
                     save=2)


def towers() -> tuple[ImageTower, TextHead]:
    torch.manual_seed(1)
    return ImageTower(Trunk()), TextHead()


def test_soft_targets_by_hand() -> None:
    near = torch.tensor([[0.0, 0.1]])
    share = torch.softmax(torch.tensor([0.0, 1.0]), 0)
    expected = 0.7 * torch.tensor([[1.0, 0.0]]) + 0.3 * share
    assert torch.allclose(terms.soft(torch.tensor([[1.0, 0.0]]), near, 0.3), expected)


def test_mixed_captions_stay_nearest_to_where_they_were() -> None:
    rng = torch.Generator().manual_seed(0)
    captions = torch.randn(6, 5, 64, generator=rng)
    made = terms.mixed(captions, rng)
    away = (made[:, :, None] - captions[:, None]).norm(dim=3)
    assert torch.equal(away.argmin(2), torch.arange(5).expand(6, 5))
    assert (made != captions).any()


def test_the_queue_holds_each_photo_once_and_the_newest() -> None:
    queue = terms.Queue(torch.zeros(0, 1), torch.zeros(0, dtype=torch.long), 3)
    queue.push(torch.tensor([[1.0], [2.0]]), torch.tensor([7, 8]))
    queue.push(torch.tensor([[3.0], [4.0]]), torch.tensor([8, 9]))
    assert queue.rows.tolist() == [8, 9, 7]
    assert queue.features.flatten().tolist() == [3.0, 4.0, 1.0]
    queue.push(torch.tensor([[5.0]]), torch.tensor([1]))
    assert queue.rows.tolist() == [1, 8, 9]


def test_caption_loss_with_hard_targets_is_cross_entropy_both_ways() -> None:
    """No dropout, no others, an empty queue, one caption said five times over."""
    c = corpus()
    c = replace(c, captions=c.captions[:, :1].expand(-1, 5, -1).contiguous())
    r = replace(SMALL, shared=0.0, others=0, text_dropout=0.0)
    rows, text = torch.tensor([2, 5, 7]), nn.Linear(384, 16)
    rng = torch.Generator().manual_seed(0)
    image = F.normalize(torch.randn(3, 16, generator=rng), dim=1)
    queue = terms.Queue(torch.zeros(0, 16), torch.zeros(0, dtype=torch.long), 4)
    found = terms.caption_loss(image, rows, text, c, c.centred(), torch.tensor(10.0), queue, r, rng)
    logits = 10 * image @ F.normalize(text(c.captions[rows, 0]), dim=1).T
    own = torch.arange(3)
    to_text = F.cross_entropy(logits, own) + torch.tensor(5.0).log()  # five that are the same
    assert found.item() == pytest.approx(
        float((to_text + F.cross_entropy(logits.T, own)).detach()), abs=1e-4)


def test_virtual_features_are_seen_as_what_they_are_made_for() -> None:
    """By hand: through the head, a made-up feature is a picture's own part plus its class's."""
    rng = torch.Generator().manual_seed(0)
    pooled, labels = torch.randn(6, 1280, generator=rng), torch.tensor([0, 0, 0, 1, 1, 1])
    head = nn.Linear(1280, 8)
    texts = F.normalize(torch.randn(1000, 8, generator=rng), dim=1)
    made = terms.Virtual.of(pooled, labels, head, texts, torch.tensor(5.0))
    seen = head(pooled).detach()
    means = torch.stack([seen[:3].mean(0), seen[3:].mean(0)])
    length = (means * texts[:2]).sum(1).mean()
    assert torch.allclose(head(made.base), seen - means[labels], atol=1e-4)
    assert torch.allclose(made.steps @ head.weight.T, length * texts, atol=1e-4)
    features, answers = made.draw(5, rng)
    expected = (5 * F.normalize(head(features), dim=1) @ texts.T).softmax(1)
    assert torch.allclose(answers, expected, atol=1e-5)


def run(stage: speak.SpeechStage | guard.GuardStage, steps: int | None = None) -> dict[str, Tensor]:
    for done, found in enumerate(stage.run(), 1):
        assert all(np.isfinite(v) for v in found.values())
        if done == steps:
            break
    tower = stage.tower.state_dict()
    return {k: v.clone() for k, v in tower.items()}


def test_a_stopped_stage_goes_on_and_leading_stages_stay(tmp_path: Path) -> None:
    c = corpus()
    start, _ = towers()

    def stage(folder: Path) -> speak.SpeechStage:
        folder.mkdir(exist_ok=True)
        tower, text = towers()
        # The queue begins anew after a stop: without one, both runs see the same.
        return speak.SpeechStage(replace(SMALL, queue=0), tower, text, torch.tensor(3.0), c, folder)

    whole = run(stage(tmp_path / "whole"))
    run(stage(tmp_path / "parts"), 2)
    assert torch.load(tmp_path / "parts" / "small.pt", weights_only=True)["step"] == 2
    parts = run(stage(tmp_path / "parts"))
    assert all(torch.equal(whole[k], parts[k]) for k in whole)
    before = start.state_dict()
    same = {k for k in whole if torch.equal(whole[k], before[k])}
    assert {"trunk.conv_stem.weight", "trunk.blocks.0.weight"} <= same and "head.weight" not in same


def test_heads_alone_leave_the_trunk(tmp_path: Path) -> None:
    c, (tower, text) = corpus(), towers()
    before = {k: v.clone() for k, v in tower.state_dict().items()}
    pooled = tuple(torch.randn(n, 1280).half() for n in (12, 8, 10))
    after = run(speak.SpeechStage(SMALL, tower, text, torch.tensor(3.0), c, tmp_path, pooled))
    changed = {k for k in after if not torch.equal(after[k], before[k])}
    assert changed == {"head.weight", "head.bias"}


@pytest.mark.parametrize("moves", [1, 2])
def test_the_attack_stays_in_bounds_and_raises_the_loss(moves: int) -> None:
    rng = torch.Generator().manual_seed(0)
    pixels = torch.rand(4, 3, 8, 8, generator=rng)
    pixels[0], pixels[1] = 0.0, 1.0
    weight = torch.randn(3 * 64, generator=rng)

    def loss(features: Tensor) -> Tensor:
        return (features.flatten(1) @ weight).sum()

    moved = guard.attack(lambda x: x, pixels, loss, 4 / 255, moves, rng)
    assert (moved - pixels).abs().max() <= 4 / 255 + 1e-6
    assert moved.min() >= 0 and moved.max() <= 1
    assert loss(moved) > loss(pixels)


def test_the_aims_terms_by_hand() -> None:
    rng = torch.Generator().manual_seed(0)
    image, clean, texts, said = (F.normalize(torch.randn(n, 4, generator=rng), dim=1)
                                 for n in (3, 3, 5, 6))
    target, own = torch.eye(5)[[0, 2, 4]], torch.eye(6)[[1, 3]]
    found = guard.Aim(texts, target, said, own, clean).terms(
        image, torch.tensor(7.0), guard.Guard(classes=1.0, captions=2.0, anchor=3.0))
    log_class = torch.log_softmax(7 * image @ texts.T, 1)
    log_said = torch.log_softmax(7 * image[:2] @ said.T, 1)
    assert found["class"].item() == pytest.approx(
        -float(log_class[0, 0] + log_class[1, 2] + log_class[2, 4]) / 3, abs=1e-5)
    assert found["captions"].item() == pytest.approx(
        -2 * float(log_said[0, 1] + log_said[1, 3]) / 2, abs=1e-5)
    assert found["anchor"].item() == pytest.approx(
        3 * float((1 - F.cosine_similarity(image, clean)).mean()), abs=1e-5)


def test_hardening_goes_on_where_it_stopped(tmp_path: Path) -> None:
    c, r = corpus(), guard.Guard("hard", steps=4, flickr=3, photos=2, tiny=2, others=4, save=2)

    def stage(folder: Path) -> guard.GuardStage:
        folder.mkdir(exist_ok=True)
        (tower, text), (clean, _) = towers(), towers()
        return guard.GuardStage(r, tower, clean, text, torch.tensor(3.0), c, folder)

    whole = run(stage(tmp_path / "whole"))
    run(stage(tmp_path / "parts"), 2)
    parts = run(stage(tmp_path / "parts"))
    assert all(torch.equal(whole[k], parts[k]) for k in whole)


def test_the_hardening_starts_between_the_first_editions_and_pocket(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def filled(value: float) -> ImageTower:
        tower = ImageTower(nn.Linear(1, 1))
        for weight in tower.parameters():
            nn.init.constant_(weight, value)
        return tower

    monkeypatch.setattr(second, "SHARE", 0.25)  # robust 3 moved by 5 - 1 is 7; a quarter to 5
    made = second.begin(filled(1.0), filled(3.0), filled(5.0))
    assert all(torch.allclose(w, torch.full_like(w, 6.5)) for w in made.trunk.parameters())
    assert all(torch.allclose(w, torch.full_like(w, 5.0)) for w in made.head.parameters())


def test_pocket_is_made_once_in_its_stages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Heads leave the first edition's trunk as it is; then the trunk moves too."""
    c, (tower, text) = corpus(), towers()
    known = Known(tower, text, torch.tensor(3.0), c.words, torch.zeros(384), torch.tensor(1.0))
    heads = tuple(replace(SMALL, name=f"heads-{k}", steps=2) for k in range(2))
    monkeypatch.setattr(second, "HEADS", heads)
    monkeypatch.setattr(second, "TOWERS", tuple(
        replace(SMALL, name=f"speak-{k}", steps=1, hard=0.5, still=0, seed=k) for k in range(2)))
    monkeypatch.setattr(second, "FURTHER", tuple(
        replace(SMALL, name=f"further-{k}", steps=1, still=0, seed=k) for k in range(2)))
    pooled = tuple([torch.randn(n, 1280).half() for _ in range(2)] for n in (12, 8, 10))
    made = second.speak(known, c, pooled, tmp_path)
    before = {f"image.{k}": v for k, v in tower.state_dict().items()}
    alone = torch.load(tmp_path / "heads-1.final.pt", weights_only=True)["weights"]
    same = {k for k in before if "trunk" in k}
    assert all(torch.equal(before[k], alone[k]) for k in same)
    assert not all(torch.equal(before[k], made[k]) for k in same)
    assert made["image.head.weight"].shape == (SECOND.dim, 1280)
    both = [torch.load(tmp_path / f"further-{k}.final.pt", weights_only=True)["weights"]
            for k in range(2)]
    key = "image.head.weight"
    assert torch.allclose(made[key], (both[0][key] + both[1][key]) / 2)
    assert not torch.equal(both[0][key], both[1][key])
    assert {f"speak-{k}.final.pt" for k in range(2)} <= {f.name for f in tmp_path.iterdir()}
    file = tmp_path / "speak.final.pt"
    at = file.stat().st_mtime_ns
    assert torch.equal(second.speak(known, c, pooled, tmp_path)["log_scale"], made["log_scale"])
    assert file.stat().st_mtime_ns == at


def test_a_wider_space_holds_the_old_one() -> None:
    """Old dimensions are the same; new ones see of a picture what the old head does not."""
    tower, text = towers()
    mean = torch.randn(1280)
    wide, said = widen(tower, text, mean)
    pooled, words = torch.randn(5, 1280), torch.randn(4, 384)
    old = tower.head.out_features
    assert torch.allclose(wide.head(pooled)[:, :old], tower.head(pooled), atol=1e-5)
    assert (said(words)[:, :old] - text(words)).abs().mean() < 0.1 * text(words).abs().mean()
    new = wide.head.weight[old:]
    assert (new @ tower.head.weight.T).abs().max() < 1e-3
    assert wide.head(mean[None])[:, old:].abs().max() < 1e-3


def test_hard_negatives_come_from_photos_whose_captions_are_alike() -> None:
    """All others are such: the loss looks at captions of the photo that is nearest."""
    c = corpus()
    near = c.centred()
    rows = torch.tensor([3])
    seen: list[Tensor] = []

    class Spy(nn.Module):
        def forward(self, features: Tensor) -> Tensor:
            seen.append(features)
            return features[:, :16]

    r = replace(SMALL, hard=1.0, others=8, text_dropout=0.0)
    queue = terms.Queue(torch.zeros(0, 16), torch.zeros(0, dtype=torch.long), 4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(terms, "NEIGHBOURS", 1)
        patch.setattr(terms, "mixed", lambda captions, _: captions)
        terms.caption_loss(F.normalize(torch.randn(1, 16), dim=1), rows, Spy(), c, near,
                           torch.tensor(10.0), queue, r, torch.Generator().manual_seed(0))
    alike = near[1][3] @ near[1].T
    alike[3] = -1
    nearest = c.captions[int(alike.argmax())]
    assert all((nearest == other).all(1).any() for other in seen[0][5:])
