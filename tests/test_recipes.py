"""TextAttack's recipes by name, and the thread between its search and ours, tested with searches
of our own. Importing TextAttack takes seconds; only what must have it does."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from text_helpers import SENTENCES, Bag, bag_pairs, check_readings, check_words, four_sentences

from explorer.attacks.engine import Step
from explorer.attacks.registry import name_of
from explorer.attacks.run import run, stream
from explorer.attacks.text import recipes
from explorer.attacks.text.recipes import TextAttackRecipe
from explorer.base.errors import InputError
from explorer.base.words import class_words, words
from explorer.data.pairs import Pairs
from explorer.models.encoder import DualEncoder

Ask = Callable[[list[str]], list[float]]
slow = pytest.mark.slow


def alive() -> int:
    return sum(t.name == "textattack" for t in threading.enumerate())


def ended(within: float = 10) -> bool:
    deadline = time.monotonic() + within
    while alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    return not alive()


@pytest.fixture
def searching(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Ask, str], None]], None]:
    """Puts a search of ours in the place of TextAttack's."""

    def use(search: Callable[[Ask, str], None]) -> None:
        monkeypatch.setattr(recipes, "_parts", lambda name: None)
        monkeypatch.setattr(recipes, "_attack",
                            lambda name, words, ask, caption, seed: search(ask, caption))

    return use


def test_a_search_in_its_thread_gets_scores_and_refusals(searching: Any) -> None:
    told: list[list[float]] = []

    def search(ask: Ask, caption: str) -> None:
        told.append(ask([caption]))
        told.append(ask([caption.replace("red", "blue"), "quite another thing"]))

    searching(search)
    model, pairs = Bag(), bag_pairs(("a red cat", "the sea"), 1)
    result = run(TextAttackRecipe(), model, pairs, "similarity")
    assert ended()
    assert len(told[0]) == 1 and told[1][1] == recipes.REFUSED  # beyond one word: our budget
    assert told[1][0] > recipes.REFUSED
    better = told[1][0] > told[0][0]
    assert result.adversarial_captions[0][0] == ("a blue cat" if better else "a red cat")
    assert (result.tried, result.refused, result.queries) == (2, 1, 2)
    assert (result.attack, name_of(TextAttackRecipe())) == ("textattack:DeepWordBugGao2018",) * 2


@pytest.mark.parametrize(("error", "say"), [
    (OSError("no route"), "needs a download that cannot be reached"),
    (ValueError("wants\nlogits"), r"wants \(it may need data"),
    (RuntimeError(), "RuntimeError"),
])
def test_what_goes_wrong_in_the_thread_is_one_sentence(searching: Any, error: Exception,
                                                       say: str) -> None:
    def search(ask: Ask, caption: str) -> None:
        ask([caption])
        raise error

    searching(search)
    with pytest.raises(InputError, match=f"DeepWordBugGao2018 cannot run here: .*{say}") as caught:
        run(TextAttackRecipe(), Bag(), bag_pairs(("a red cat", "the sea"), 1))
    assert "\n" not in str(caught.value) and ended()


def test_the_thread_ends_when_the_run_is_stopped(searching: Any) -> None:
    def search(ask: Ask, caption: str) -> None:
        while True:
            ask([caption.replace("red", "blue")])

    searching(search)
    events: Any = stream(TextAttackRecipe(), Bag(), bag_pairs(("a red cat", "the sea"), 1))
    for _ in range(5):
        assert isinstance(next(events), Step)
    assert alive() == 1
    events.close()
    assert ended()


# --- with TextAttack itself ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["DeepWordBugGao2018", "Pruthi2019"])
def test_recipes_that_need_nothing_run_offline(
    name: str, tiny: DualEncoder, capfd: pytest.CaptureFixture[str],
) -> None:
    pairs, attack = four_sentences(), TextAttackRecipe(recipe=name, words=2)
    result = run(attack, tiny, pairs, "similarity", seed=2)
    check_words(result, attack, pairs)
    check_readings(tiny, result, pairs, "similarity", None)
    assert result.attack == f"textattack:{name}" and result.settings["recipe"] == name
    assert bool(result.changed.any()) and result.tried > result.refused
    assert capfd.readouterr().err == ""
    again = run(attack, tiny, pairs, "similarity", seed=2)
    assert again.adversarial_captions == result.adversarial_captions
    nothing = run(TextAttackRecipe(recipe=name, words=0), tiny, pairs, seed=2)
    assert nothing.adversarial_captions == (SENTENCES,) * 4
    assert ended()


def test_our_constraints_hold_for_recipes(tiny: DualEncoder) -> None:
    pairs = four_sentences()
    result = run(TextAttackRecipe(protect=True, captions="all", objective="kl"), tiny, pairs)
    for row in result.adversarial_captions:
        for kept, text in zip(class_words(SENTENCES), row, strict=True):
            assert kept <= {w.lower() for w in words(text)}


def test_the_recipes_thread_leaves_the_random_generators_alone(tiny: DualEncoder) -> None:
    random.seed(5)
    np.random.seed(5)
    want = random.random(), np.random.rand()
    random.seed(5)
    np.random.seed(5)
    run(TextAttackRecipe(), tiny, four_sentences())
    assert (random.random(), np.random.rand()) == want


def test_a_recipe_that_needs_a_download_says_so(tiny: DualEncoder) -> None:
    with pytest.raises(InputError) as caught:
        run(TextAttackRecipe(recipe="TextFoolerJin2019"), tiny, four_sentences())
    said = str(caught.value)
    assert said.startswith("the TextAttack recipe TextFoolerJin2019 cannot run here: ")
    assert "\n" not in said and len(said) < 300
    assert ended()


@pytest.mark.parametrize("name", ["", "Nobody2099", "AttackRecipe", "__name__"])
def test_an_unknown_recipe_lists_the_known_ones(name: str, tiny: DualEncoder) -> None:
    with pytest.raises(InputError, match="has no recipe.*DeepWordBugGao2018.*TextFoolerJin2019"):
        run(TextAttackRecipe(recipe=name), tiny, four_sentences())


@slow
@pytest.mark.parametrize("caption", ["it is what it is", "x", "!!! ...", "🐈 🐕", "一条狗 кошка",
                                     "word " * 100])
def test_odd_captions(caption: str, tiny: DualEncoder) -> None:
    pairs = Pairs(four_sentences().images[:1], (caption.strip(), "a dog"), torch.tensor([0]))
    for name in ("DeepWordBugGao2018", "Pruthi2019"):
        attack = TextAttackRecipe(recipe=name)
        check_words(run(attack, tiny, pairs), attack, pairs)
    assert ended()
