"""TextAttack's own recipes by name, such as textattack:DeepWordBugGao2018, against our goals.

The recipe's transformation, constraints and search run as they are, in a thread of their own;
its questions are answered like those of any other attack, so our budget and constraints hold too.
Imports TextAttack, which takes several seconds, when the first recipe is asked for.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any

import torch
from torch import Tensor

from explorer.attacks.image.classic import setting
from explorer.attacks.text.base import Proposals, WordAttack
from explorer.attacks.text.search import Probe, Search
from explorer.attacks.text.search import Try as Ask
from explorer.base.errors import InputError

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


def _failed(name: str, error: Exception) -> InputError:
    first = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
    why = "it needs a download that cannot be reached from here" if isinstance(
        error, OSError) else f"{first} (it may need data, or a victim of another kind)"
    return InputError(f"the TextAttack recipe {name} cannot run here: {why}")


@cache
def _package() -> Any:
    from explorer.base.nltk_data import use_own_nltk_data

    use_own_nltk_data()
    try:
        import textattack
    except Exception as error:  # noqa: BLE001 - its import reads data and environment
        raise InputError(f"TextAttack cannot be imported: {type(error).__name__}: {error}"
                         ) from None
    textattack.shared.logger.setLevel(logging.ERROR)
    return textattack


@cache
def _parts(name: str) -> Any:
    """The recipe as TextAttack builds it, around a victim that is never asked."""
    textattack = _package()
    recipes = textattack.attack_recipes
    known = sorted(n for n, v in vars(recipes).items() if isinstance(v, type)
                   and issubclass(v, recipes.AttackRecipe) and v is not recipes.AttackRecipe)
    if name not in known:
        raise InputError(f"TextAttack has no recipe '{name}'; it has {', '.join(known)}")
    try:
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
