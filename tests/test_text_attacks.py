"""The test every text attack must pass, over the whole registry; and searches by brute force."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
import torch
from text_helpers import (
    CASES,
    SENTENCES,
    TARGETS,
    Bag,
    OneByOne,
    ToyLM,
    bag_pairs,
    build,
    check_readings,
    check_words,
    four_sentences,
    goal_of,
    score,
)
from torch import Tensor

from explorer.attacks.engine import Step
from explorer.attacks.language import masked, thesaurus
from explorer.attacks.result import Result
from explorer.attacks.run import run, stream
from explorer.attacks.text.base import alike, drift_loss, replace, words_of
from explorer.attacks.text.classic import (
    LETTERS,
    SIGNS,
    TEXT_ATTACKS,
    BertAttack,
    Character,
    Synonym,
    Typo,
    edit,
    typos,
)
from explorer.base.words import words, words_changed
from explorer.data.pairs import Pairs
from explorer.models.encoder import DualEncoder
from explorer.results.verdicts import verdict


@pytest.mark.parametrize(("objective", "captions", "goal", "targeted"), CASES)
@pytest.mark.parametrize("name", TEXT_ATTACKS)
def test_every_attack(name: str, objective: str, captions: str, goal: str, targeted: bool,
                      tiny: DualEncoder) -> None:
    pairs = four_sentences()
    fields = {"objective": objective, "captions": captions, "similarity": 0.0}
    attack, targets = build(name, **fields), TARGETS if targeted else None
    flags = [(p.requires_grad, p.grad) for p in tiny.clip.parameters()]
    modes = [m.training for m in tiny.clip.modules()]

    events = list(stream(attack, tiny, pairs, goal, targets, seed=3))
    result = events[-1]
    assert isinstance(result, Result) and result.kind == "text"
    assert torch.equal(result.adversarial_images, pairs.images)
    assert not bool(result.linf_255.any()) and not bool(result.l2.any())
    check_words(result, attack, pairs)
    check_readings(tiny, result, pairs, goal, targets)
    assert result.queries > 0 and 0 <= result.refused <= result.tried

    steps = [e for e in events if isinstance(e, Step)]
    assert steps and all(s.what == "text" and 0 <= s.index <= s.total for s in steps)
    assert [s.index for s in steps] == sorted(s.index for s in steps)
    assert steps[-1].index == steps[-1].total == (4 if objective != "goal" or captions == "true"
                                                  else 16)
    assert flags == [(p.requires_grad, p.grad) for p in tiny.clip.parameters()]
    assert not any(needs for needs, _ in flags) and all(g is None for _, g in flags)
    assert modes == [m.training for m in tiny.clip.modules()] and not any(modes)
    assert not any(m._forward_hooks for m in tiny.clip.modules()), "a hook was left behind"

    before, after = score(tiny, pairs, result, goal, targets)
    if objective == "goal":
        assert bool((after >= before - 1e-6).all())
        towards = goal == "similarity" and targeted and captions == "true"
        rises = -result.text_cosine + 1 if towards else after - before  # the target does not move
        assert bool((rises > 1e-6).any()), "an attack that never does anything"
        if goal == "similarity" and not targeted:
            assert all(row[j] == SENTENCES[j] for n, row in enumerate(result.adversarial_captions)
                       for j in range(4) if j != n), "captions that do not count were changed"
    else:
        assert bool((result.text_cosine < 1 - 1e-6).any())
        assert all(row == result.adversarial_captions[0]
                   for row in result.adversarial_captions) == (captions == "all")

    again = run(attack, tiny, pairs, goal, targets, seed=3)
    assert again.adversarial_captions == result.adversarial_captions
    assert again.queries == result.queries

    nothing = run(build(name, words=0, characters=0, **fields), tiny, pairs, goal, targets, seed=3)
    assert nothing.adversarial_captions == (SENTENCES,) * 4
    assert torch.equal(nothing.adversarial_images, pairs.images)
    assert not bool(nothing.changed.any())
    assert verdict(nothing)[1] == "Nothing changed: the budget is zero."


@pytest.mark.parametrize(("objective", "captions", "goal", "targeted"), CASES)
@pytest.mark.parametrize("name", TEXT_ATTACKS)
def test_a_batch_equals_its_halves(name: str, objective: str, captions: str, goal: str,
                                   targeted: bool, tiny: DualEncoder) -> None:
    pairs, model = four_sentences(), OneByOne(tiny)
    attack = build(name, objective=objective, captions=captions, similarity=0.0)
    whole = run(attack, model, pairs, goal, TARGETS if targeted else None, seed=5)
    halves = [run(attack, model, Pairs(pairs.images[part], SENTENCES, pairs.labels[part]), goal,
                  TARGETS[part] if targeted else None, seed=5)
              for part in (slice(0, 2), slice(2, 4))]
    assert whole.adversarial_captions == sum((h.adversarial_captions for h in halves), ())
    assert torch.equal(whole.success, torch.cat([h.success for h in halves]))


@pytest.mark.parametrize("name", ["character", "typo"])
def test_another_seed_is_another_attack(name: str, tiny: DualEncoder) -> None:
    made = {run(build(name), tiny, four_sentences(), seed=s).adversarial_captions
            for s in range(4)}
    assert len(made) > 1


@pytest.mark.parametrize("name", TEXT_ATTACKS)
def test_more_budget_is_used_and_kept(name: str, tiny: DualEncoder) -> None:
    attack = build(name, words=3, characters=3, similarity=0.0)
    pairs = four_sentences()
    result = run(attack, tiny, pairs, "similarity", seed=1)
    check_words(result, attack, pairs)
    spent = result.characters_changed if name == "character" else result.words_changed
    assert int(spent.max()) > 1
    one = run(build(name, similarity=0.0), tiny, pairs, "similarity", seed=1)
    gain, single = (score(tiny, pairs, r, "similarity", None)[1] for r in (result, one))
    assert bool((gain >= single - 1e-6).all()) or name == "character"  # its draws differ


@pytest.mark.parametrize("name", TEXT_ATTACKS)
def test_the_recorded_trail(name: str, tiny: DualEncoder) -> None:
    pairs = four_sentences()
    result = run(build(name, words=2, characters=2, similarity=0.0), tiny, pairs, record=True)
    assert result.frames is not None and result.trail is not None
    assert len(result.frames) == len(result.frame_captions) == len(result.frame_steps)
    assert torch.equal(result.frames, pairs.images[:1].expand_as(result.frames))
    assert result.frame_captions[0] == SENTENCES[0]
    assert result.frame_captions[-1] == result.adversarial_captions[0][0]
    assert list(result.frame_steps) == list(range(len(result.frames)))
    aim = goal_of(tiny, pairs, "classification", None).subset(torch.zeros(1, dtype=torch.long))
    values = []
    for k, caption in enumerate(result.frame_captions):
        text = tiny.encode_text([caption, *SENTENCES[1:]])
        image = tiny.encode_image(result.frames[k : k + 1])
        torch.testing.assert_close(result.trail.cosines[k], (image @ text.T)[0], atol=1e-5, rtol=0)
        values.append(float(aim.score(image, text)[0]))
    assert values == sorted(values) and len(set(values)) == len(values), "each step is better"
    torch.testing.assert_close(result.trail.cosines[-1], result.adversarial.cosines[0])


def test_the_trail_begins_clean_where_only_other_captions_change(tiny: DualEncoder) -> None:
    pairs = Pairs(four_sentences().images[:1], ("it is", "a dog on the grass"), torch.tensor([0]))
    result = run(Typo(captions="all", objective="kl"), tiny, pairs, record=True)
    assert result.adversarial_captions[0][0] == "it is" != result.adversarial_captions[0][1]
    assert result.trail is not None
    torch.testing.assert_close(result.trail.cosines[0], result.clean.cosines[0])
    torch.testing.assert_close(result.trail.cosines[-1], result.adversarial.cosines[0])


def test_a_true_caption_is_led_away_so_that_the_target_is_closer(tiny: DualEncoder) -> None:
    pairs = four_sentences()
    result = run(Typo(words=2), tiny, pairs, "similarity", TARGETS, seed=1)
    own = result.adversarial.cosines.gather(1, pairs.labels[:, None])
    was = result.clean.cosines.gather(1, pairs.labels[:, None])
    assert bool((own <= was + 1e-6).all()) and bool((own < was - 1e-6).any())


def test_several_true_captions_are_all_attacked(tiny: DualEncoder) -> None:
    """For retrieval: each of an image's captions is led away, not only the first."""
    images = four_sentences().images[:2]
    pairs = Pairs(images, SENTENCES, torch.tensor([0, 2]), ((0, 1), (2, 3)))
    for goal, objective in (("similarity", "goal"), ("embedding", "goal"), ("similarity", "kl")):
        attack = Typo(objective=objective)
        result = run(attack, tiny, pairs, goal, seed=1)
        check_words(result, attack, pairs)
        moved = [{j for j in range(4) if row[j] != SENTENCES[j]}
                 for row in result.adversarial_captions]
        assert moved == [{0, 1}, {2, 3}]
        for n, own in enumerate(pairs.sets or ()):
            for j in own:
                alone = run(attack, tiny, Pairs(images[n : n + 1], SENTENCES, torch.tensor([j])),
                            goal, seed=1)
                assert alone.adversarial_captions[0][j] == result.adversarial_captions[n][j]


# --- label-free objectives ----------------------------------------------------------------------


def test_label_free_objectives_by_hand() -> None:
    clean = torch.tensor([0.6, 0.8])
    other = torch.tensor([[0.6, 0.8], [1.0, 0.0], [-0.6, -0.8]])
    assert drift_loss("cosine", clean)(other).tolist() == pytest.approx([0, 0.4, 2], abs=1e-6)
    p = torch.tensor([0.6, 0.8]).exp() / torch.tensor([0.6, 0.8]).exp().sum()
    want = [float(sum(p[i] * (p[i] / (row.exp() / row.exp().sum())[i]).log() for i in range(2)))
            for row in other]
    assert drift_loss("kl", clean)(other).tolist() == pytest.approx(want, abs=1e-6)
    assert want[0] == pytest.approx(0, abs=1e-6) and want[1] > 0


@pytest.mark.parametrize("objective", ["kl", "cosine"])
def test_label_free_attacks_see_no_image_and_no_label(objective: str, tiny: DualEncoder) -> None:
    pairs = four_sentences()
    attack = Typo(objective=objective, captions="all")
    first = run(attack, tiny, pairs)
    other = run(attack, tiny, Pairs(pairs.images.flip(0), SENTENCES, torch.tensor([1, 1, 0, 3])))
    assert first.adversarial_captions[0] == other.adversarial_captions[0]
    for j, (before, after) in enumerate(zip(SENTENCES, first.adversarial_captions[0], strict=True)):
        loss = drift_loss(objective, tiny.encode_text([before])[0])
        most = max(float(loss(tiny.encode_text([text]))[0]) for text in [before, after])
        assert float(loss(tiny.encode_text([after]))[0]) == most > 0, j


# --- against brute force ------------------------------------------------------------------------

TOY = {"cat": ["dog", "lion", "house"], "red": ["blue", "old"], "small": ["large", "tiny"],
       "sea": ["lake"], "photo": ["drawing", "picture"]}
TOY_CAPTIONS = ("a small red cat", "a photo of the sea", "the red photo of a cat")


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy vocabulary in the place of the embedded language model and of the thesaurus."""
    monkeypatch.setitem(masked._loaded, masked.EMBEDDED, ToyLM(TOY))
    monkeypatch.setattr(thesaurus, "swaps", lambda word, phrases=False: [
        thesaurus.Swap(w, "synonym") for w in TOY.get(word.lower(), [])])


def everything(caption: str, most: int) -> list[str]:
    """All captions that exchanging up to `most` words can make."""
    found = [caption]
    places = [i for i, w in enumerate(words(caption)) if w in TOY]
    for count in range(1, most + 1):
        for chosen in itertools.combinations(places, count):
            for new in itertools.product(*(TOY[words(caption)[i]] for i in chosen)):
                text = caption
                for i, w in zip(chosen, new, strict=True):
                    text = replace(text, i, w)
                found.append(text)
    return found


def best_by_hand(model: Bag, pairs: Pairs, row: int, candidates: list[str], goal: str,
                 targets: Tensor | None) -> tuple[str, float]:
    """The candidate of the highest goal score for one image, each scored on its own."""
    aim = goal_of(model, pairs, goal, targets).subset(torch.tensor([row]))
    image, label = model.encode_image(pairs.images[row : row + 1]), int(pairs.labels[row])
    values = []
    for text in candidates:
        captions = [text if k == label else c for k, c in enumerate(pairs.captions)]
        values.append(float(aim.score(image, model.encode_text(captions))[0]))
    best = max(range(len(values)), key=lambda i: values[i])
    return candidates[best], values[best]


@pytest.mark.parametrize("goal", ["classification", "similarity", "embedding"])
@pytest.mark.parametrize("kind", [BertAttack, Synonym])
@pytest.mark.usefixtures("toy")
def test_one_word_equals_brute_force(kind: Callable[..., Any], goal: str) -> None:
    model, pairs = Bag(), bag_pairs(TOY_CAPTIONS)
    result = run(kind(importance="all", similarity=0.0), model, pairs, goal)
    for row in range(3):
        want, _ = best_by_hand(model, pairs, row, everything(TOY_CAPTIONS[row], 1), goal, None)
        assert result.adversarial_captions[row][row] == want


@pytest.mark.usefixtures("toy")
def test_two_words_are_the_best_pair_found_greedily() -> None:
    """The second word is the best one after the first, by hand."""
    model, pairs = Bag(), bag_pairs(TOY_CAPTIONS)
    result = run(BertAttack(importance="all", words=2), model, pairs)
    for row in range(3):
        first, value = best_by_hand(model, pairs, row, everything(TOY_CAPTIONS[row], 1),
                                    "classification", None)
        second = [t for t in everything(TOY_CAPTIONS[row], 2) if words_changed(first, t) == 1
                  and words_changed(TOY_CAPTIONS[row], t) == 2]
        best, more = best_by_hand(model, pairs, row, second, "classification", None)
        assert result.adversarial_captions[row][row] == (best if more > value else first)


@pytest.mark.parametrize("importance", ["delete", "mask"])
@pytest.mark.usefixtures("toy")
def test_the_most_important_word_goes_first(importance: str) -> None:
    """By hand: the word whose absence helps the attacker most, then its best replacement; the next
    word only where that one has none that helps."""
    model, pairs = Bag(), bag_pairs(TOY_CAPTIONS)
    result = run(BertAttack(importance=importance), model, pairs)
    for row, caption in enumerate(TOY_CAPTIONS):
        aim = goal_of(model, pairs, "classification", None).subset(torch.tensor([row]))
        image = model.encode_image(pairs.images[row : row + 1])

        def value(text: str, row: int = row, aim: Any = aim, image: Tensor = image) -> float:
            captions = [text if k == row else c for k, c in enumerate(TOY_CAPTIONS)]
            return float(aim.score(image, model.encode_text(captions))[0])

        blank = "" if importance == "delete" else "[UNK]"
        places = [i for i, w in enumerate(words(caption)) if w in TOY]
        places.sort(key=lambda i: -value(" ".join(replace(caption, i, blank).split())))
        want = caption
        for i in places:
            best = max((replace(caption, i, w) for w in TOY[words(caption)[i]]), key=value)
            if value(best) > value(caption):
                want = best
                break
        tried = [replace(caption, i, w) for i in places for w in TOY[words(caption)[i]]]
        assert result.adversarial_captions[row][row] in (want, max(tried, key=value))
        assert value(result.adversarial_captions[row][row]) >= value(want)


def test_one_character_with_no_sampling_equals_brute_force() -> None:
    model, pairs = Bag(), bag_pairs(("a cat", "the sea", "red"), 3)
    result = run(Character(rho=0, new_words=True), model, pairs, "similarity")
    for row, caption in enumerate(pairs.captions):
        n = len(caption)
        single = {caption[:i] + s + caption[i:] for i in range(n + 1) for s in SIGNS}
        single |= {caption[:i] + s + caption[i + 1 :] for i in range(n) for s in [*SIGNS, ""]}
        single = {t for t in single if t.strip() and words_changed(caption, t) <= 2}
        _, want = best_by_hand(model, pairs, row, sorted(single), "similarity", None)
        _, got = best_by_hand(model, pairs, row, [result.adversarial_captions[row][row]],
                              "similarity", None)
        assert got == pytest.approx(want, abs=1e-6)


def test_character_edits_and_typos_by_hand() -> None:
    assert [edit("cat", p, "x") for p in range(7)] == [
        "xcat", "xat", "cxat", "cxt", "caxt", "cax", "catx"]
    assert [edit("cat", p, "") for p in (1, 3, 5)] == ["at", "ct", "ca"]
    made = typos("cat", Random(0))
    assert made[:5] == ["act", "cta", "at", "ct", "ca"]
    assert all(t != "cat" for t in made) and len(set(made)) == len(made) <= 2 + 3 + 3 + 4
    assert {len(t) for t in made} == {2, 3, 4}
    assert all(c in LETTERS for t in made for c in t)
    assert typos("x", Random(0)) and "" not in typos("x", Random(0))


def test_words_keep_their_capitals() -> None:
    assert [alike(w, "dog") for w in ("cat", "Cat", "CAT", "A")] == ["dog", "Dog", "DOG", "Dog"]
    assert words_of("A CAT-nap, isn't it?") == ["A", "CAT-nap", "isn't", "it"]


def test_a_word_that_would_fall_apart_is_no_replacement(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the places of all later words were off by one."""
    monkeypatch.setattr(thesaurus, "swaps", lambda word, phrases=False: [
        thesaurus.Swap({"red": "U.S.", "cat": "lion"}[word], "synonym")] if word in (
            "red", "cat") else [])
    model, pairs = Bag(), bag_pairs(("a red cat", "the sea"), 2)
    result = run(Synonym(words=2, similarity=0.0), model, pairs)
    assert result.adversarial_captions[0][0] in ("a red cat", "a red lion")
