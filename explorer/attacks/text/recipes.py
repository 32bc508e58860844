"""TextAttack's own recipes by name, such as textattack:DeepWordBugGao2018, against our goals.

The recipe's transformation, constraints and search run as they are, in a thread of their own;
its questions are answered like those of any other attack, so our budget and constraints hold too.
Imports TextAttack, which takes several seconds, when the first recipe is asked for.
"""

from __future__ import annotations

import logging
import queue
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, partial
from random import Random
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from explorer.attacks.image.classic import setting
from explorer.attacks.text.base import Proposals, WordAttack
from explorer.attacks.text.search import Probe, Search
from explorer.attacks.text.search import Try as Ask
from explorer.base import hub
from explorer.base.errors import InputError

SHORT = {  # as TextAttack's own command line spells them (textattack.attack_args)
    "alzantot": "GeneticAlgorithmAlzantot2018", "bae": "BAEGarg2019",
    "bert-attack": "BERTAttackLi2020", "faster-alzantot": "FasterGeneticAlgorithmJia2019",
    "deepwordbug": "DeepWordBugGao2018", "hotflip": "HotFlipEbrahimi2017",
    "input-reduction": "InputReductionFeng2018", "kuleshov": "Kuleshov2017",
    "morpheus": "MorpheusTan2020", "seq2sick": "Seq2SickCheng2018BlackBox",
    "textbugger": "TextBuggerLi2018", "textfooler": "TextFoolerJin2019", "pwws": "PWWSRen2019",
    "iga": "IGAWang2019", "pruthi": "Pruthi2019", "pso": "PSOZang2020",
    "checklist": "CheckList2020", "clare": "CLARE2020", "a2t": "A2TYoo2021", "leap": "LEAP2023",
    "bad-characters": "BadCharacters2021"}
OTHERS = ("FrenchRecipe", "SpanishRecipe", "ChineseRecipe")
RESOURCE = re.compile(r"Resource\W+(?:\x1b\[\d+m)?'?([\w.-]+)")
REFUSED = -1e9  # TextAttack's searches compare scores and cannot order -inf


class _Closed(Exception):
    """The run was stopped: nobody answers any more."""


@dataclass(frozen=True)
class TextAttackRecipe(WordAttack):
    """A recipe of TextAttack (Morris et al. 2020, arXiv 2005.05909), aimed at our goal.

    Deviation: it goes on for the most harmful caption within the budget instead of stopping at
    the first wrong answer.
    """

    title = "A recipe of TextAttack"
    source = "Morris et al. 2020, arXiv 2005.05909; the recipe's own paper is in its name"

    together = 1  # its transformations share one global random generator

    recipe: str = setting("DeepWordBugGao2018", "TextAttackRecipe", "name of a class of "
                          "textattack.attack_recipes", text=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "recipe", recipe_named(self.recipe))

    @property
    def english_only(self) -> bool:
        return False  # some recipes are for other languages

    def proposals(self, captions: Sequence[str], random: Sequence[Random]) -> list[Proposals]:
        _parts(self.recipe)  # fails here, in a sentence, when the recipe cannot be built
        return [[] for _ in captions]

    def search(self, caption: str, options: Proposals, random: Random) -> Search:
        questions: queue.Queue[list[str] | Exception | None] = queue.Queue()
        answers: queue.Queue[list[float] | None] = queue.Queue()

        def ask(texts: list[str]) -> list[float]:
            questions.put(texts)
            got = answers.get()
            if got is None:
                raise _Closed
            return got

        def work() -> None:
            try:
                _attack(self.recipe, self.words, ask, caption, random.getrandbits(32))
                questions.put(None)
            except _Closed:
                pass
            except Exception as error:  # noqa: BLE001 - recipes raise anything; said below
                questions.put(error)

        threading.Thread(target=work, name="textattack", daemon=True).start()
        try:
            while (asked := questions.get()) is not None:
                if isinstance(asked, Exception):
                    raise _failed(self.recipe, asked) from None
                scores = yield (Probe if asked == [caption] else Ask)(asked)
                assert isinstance(scores, Tensor)
                answers.put(scores.clamp_min(REFUSED).tolist())
        finally:
            answers.put(None)
        return caption


def recipe_named(name: str) -> str:
    """The class of a recipe by its name or TextAttack's short one, whatever the case. Raises
    InputError that suggests the nearest."""
    def plain(text: str) -> str:
        return "".join(c for c in text.lower() if c.isalnum())

    known = {plain(long): long for long in [*SHORT.values(), *OTHERS]}
    known |= {plain(short): long for short, long in SHORT.items()}
    if plain(name) not in known:
        near = get_close_matches(plain(name), known, 1, 0.6)
        hint = f"; did you mean {known[near[0]]}?" if near else (
            f"; it has {', '.join(sorted([*SHORT.values(), *OTHERS]))}")
        raise InputError(f"TextAttack has no recipe '{name[:60]}'{hint}")
    return known[plain(name)]


def _failed(name: str, error: Exception) -> InputError:
    first = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
    lacks = RESOURCE.search(str(error)) if isinstance(error, LookupError) else None
    if lacks:
        why = (f"it needs NLTK's data '{lacks[1]}', which is not here: get it with "
               f"`python -m nltk.downloader {lacks[1]}`")
    elif isinstance(error, OSError) or "already held" in first:  # its lock of a failed download
        asked = getattr(getattr(error, "request", None), "url", None) or next(
            iter(re.findall(r"https?://[^\s'\"<>]+", str(error))), "")
        of = f" of {asked.rstrip('.,)')[:120]}" if asked else ""
        why = f"it needs a download{of} that cannot be reached from here"
    else:
        why = f"{first} (it may need data, or a victim of another kind)"
    return InputError(f"the TextAttack recipe {name} cannot run here: {why}")


@cache
def _package() -> Any:
    import nltk

    from explorer.base.nltk_data import fetch_quietly, use_own_nltk_data

    use_own_nltk_data()
    nltk.download = fetch_quietly  # for its import, and for recipes whenever they are built
    before = logging.root.manager.disable
    logging.disable(logging.INFO)  # at its first import it tells what it fetches
    try:
        import textattack
    except Exception as error:  # noqa: BLE001 - its import reads data and environment
        raise InputError(f"TextAttack cannot be imported: {type(error).__name__}: {error}"
                         ) from None
    finally:
        logging.disable(before)
    textattack.shared.logger.setLevel(logging.ERROR)
    install = textattack.shared.utils.install
    install.tqdm = SimpleNamespace(tqdm=partial(install.tqdm.tqdm, disable=True))
    return textattack


@cache
def _parts(name: str) -> Any:
    """The recipe as TextAttack builds it, around a victim that is never asked."""
    textattack = _package()
    recipes = textattack.attack_recipes
    if not hasattr(recipes, name):
        raise InputError(f"this release of TextAttack has no recipe '{name}'")
    try:
        with hub.asked_once():
            return getattr(recipes, name).build(_victim(lambda texts: [0.0] * len(texts)))
    except Exception as error:  # noqa: BLE001 - downloads, missing data, wrong victims
        raise _failed(name, error) from None


def _victim(ask: Any) -> Any:
    textattack = _package()

    class Victim(textattack.models.wrappers.ModelWrapper):  # type: ignore[misc,name-defined]
        model = None

        def __call__(self, texts: list[str]) -> Tensor:
            return torch.tensor(ask(list(texts)))[:, None]

    return Victim()


def _attack(name: str, words: int, ask: Any, caption: str, seed: int) -> None:
    """Runs the recipe's parts against `ask`; every candidate it scores passes through there."""
    import random

    import numpy as np

    textattack = _package()
    built = _parts(name)
    most = textattack.constraints.pre_transformation.MaxNumWordsModified(words)
    attack = textattack.Attack(
        _goal(ask), [*built.constraints, *built.pre_transformation_constraints, most],
        built.transformation, built.search_method)
    with _seeding:
        kept, rows = random.getstate(), np.random.get_state()  # its transformations draw from both
        random.seed(seed)
        np.random.seed(seed)
        try:
            attack.attack(caption, 0)
        finally:
            random.setstate(kept)
            np.random.set_state(rows)


_seeding = threading.Lock()


def _goal(ask: Any) -> Any:
    textattack = _package()
    results = textattack.goal_function_results

    class Score(results.GoalFunctionResult):  # type: ignore[misc,name-defined]
        def get_text_color_input(self) -> str:
            return "red"

        def get_text_color_perturbed(self) -> str:
            return "blue"

        def get_colored_output(self, color_method: Any = None) -> str:
            return str(self.score)

    class Goal(textattack.goal_functions.GoalFunction):  # type: ignore[misc,name-defined]
        def _is_goal_complete(self, model_output: Any, attacked_text: Any) -> bool:
            return False

        def _get_score(self, model_output: Any, attacked_text: Any) -> float:
            return float(model_output)

        def _goal_function_result_type(self) -> Any:
            return Score

        def _process_model_outputs(self, inputs: Any, outputs: Any) -> Any:
            return outputs.reshape(len(inputs))

    return Goal(_victim(ask), model_batch_size=10_000)
