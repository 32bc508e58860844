"""Our text search beside TextAttack's, on the same model: python -m bench.text (of make bench).

Replaces its own section of docs/performance.md and leaves the rest.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.peers import plain_tower
from bench.report import put
from explorer.attacks.engine import attack_captions
from explorer.attacks.run import run
from explorer.attacks.text.base import TextAttack, drift_loss, words_of
from explorer.attacks.text.classic import BertAttack, Typo
from explorer.attacks.text.search import TextLoss
from explorer.base.paths import ASSETS
from explorer.base.words import stop_words
from explorer.data.examples import load_examples
from explorer.data.pairs import Pairs, one_pair, open_image
from explorer.models.encoder import DualEncoder
from explorer.models.fast.convolution import keep_memory
from explorer.models.library import Library

HEAD = "## Beside TextAttack"
ATTACKS: dict[str, TextAttack] = {"bert": BertAttack(objective="kl"), "typo": Typo(objective="kl")}
PROMPTS = 200
Encode = Callable[[Sequence[str]], Tensor]


@dataclass(frozen=True)
class Job:
    """What all searches get: captions, their losses, and the candidates of each word."""

    attack: TextAttack
    captions: tuple[str, ...]
    losses: tuple[TextLoss, ...]
    options: tuple[dict[str, list[str]], ...]


@dataclass(frozen=True)
class Outcome:
    """seconds; queries: captions scored; gain: mean rise of the loss."""

    seconds: float
    queries: float
    gain: float


def captions_of(n: int) -> tuple[str, ...]:
    """The first n captions of the app's photos."""
    every = [c for e in load_examples().values() for c in e.captions]
    return tuple(dict.fromkeys(every))[:n]


def make_job(model: DualEncoder, attack: TextAttack, captions: tuple[str, ...]) -> Job:
    """Candidates are looked up here once, so that no job's time has the language model's in it."""
    features = model.encode_text(captions)
    losses = tuple(drift_loss(attack.objective, f) for f in features)
    found = attack.proposals(captions, [Random(f"0 {c}") for c in captions])
    options = tuple({w: new for w, new in zip(words_of(c), rows, strict=True) if new}
                    for c, rows in zip(captions, found, strict=True))
    return Job(attack, captions, losses, options)


def ours(model: DualEncoder, job: Job, skim: bool = True) -> Outcome:
    """All captions side by side, texts remembered."""
    model._texts.clear()
    began = time.perf_counter()
    *_, found = attack_captions(job.attack, job.captions, job.losses, model.encode_text,
                                rough=model.skim_text if skim else None)
    took = time.perf_counter() - began
    return Outcome(took, sum(f.queries for f in found), statistics.mean(f.value for f in found))


def one_by_one(encode: Encode, job: Job) -> Outcome:
    """Our search, but one caption after the other, batches of one and nothing remembered."""
    queries, values = 0, []

    def single(texts: Sequence[str]) -> Tensor:
        return torch.cat([encode([t]) for t in texts])

    began = time.perf_counter()
    for caption, loss in zip(job.captions, job.losses, strict=True):
        *_, (found,) = attack_captions(job.attack, [caption], [loss], single, 0, job.captions)
        queries += found.queries
        values.append(found.value)
    return Outcome(time.perf_counter() - began, queries, statistics.mean(values))


def textattack_job(encode: Encode, job: Job) -> Outcome:
    """TextAttack's GreedyWordSwapWIR (importance by deletion), with the same candidates, stop
    words kept and one word at most; its own cache is on, as it is by default."""
    import textattack
    from textattack.constraints.pre_transformation import MaxNumWordsModified, StopwordModification

    scored: list[float] = []
    state: dict[str, Any] = {}

    class Victim(textattack.models.wrappers.ModelWrapper):  # type: ignore[misc]
        model = None

        def __call__(self, texts: list[str]) -> Tensor:
            values: Tensor = state["loss"](encode(texts))
            scored.extend(values.tolist())
            return values[:, None]

    class Same(textattack.transformations.WordSwap):  # type: ignore[misc]
        def _get_replacement_words(self, word: str) -> list[str]:
            found: list[str] = state["options"].get(word, [])
            return found

    from explorer.attacks.text.recipes import _goal

    goal = _goal(None)
    goal.model = Victim()
    goal.batch_size = 32
    attack = textattack.Attack(
        goal, [MaxNumWordsModified(1), StopwordModification(stopwords=stop_words())], Same(),
        textattack.search_methods.GreedyWordSwapWIR(wir_method="delete"))
    values = []
    began = time.perf_counter()
    for caption, loss, options in zip(job.captions, job.losses, job.options, strict=True):
        state.update(loss=loss, options=options)
        goal.clear_cache()  # each caption has a loss of its own
        values.append(float(attack.attack(caption, 0).perturbed_result.score))
    return Outcome(time.perf_counter() - began, len(scored), statistics.mean(values))


def plain_encoder(model: DualEncoder, folder: Path) -> Encode:
    """The text tower as open_clip loads it, its tokens padded to the model's full length."""
    clip: Any = plain_tower(model, folder).clip

    @torch.no_grad()
    def encode(texts: Sequence[str]) -> Tensor:
        tokens = model.tokenize(list(texts))
        return F.normalize(clip.encode_text(tokens).float(), dim=1)

    return encode


def plain_own(model: DualEncoder) -> Encode:
    """Our encoder without its memory."""

    def encode(texts: Sequence[str]) -> Tensor:
        model._texts.clear()
        return model.encode_text(texts)

    return encode


def rows(model: DualEncoder, folder: Path, n: int, repeats: int) -> list[str]:
    captions = captions_of(n)
    loaded, own = plain_encoder(model, folder), plain_own(model)
    lines = []
    for name, attack in ATTACKS.items():
        job = make_job(model, attack, captions)
        jobs: dict[str, Callable[[Job], Outcome]] = {
            "ours": lambda j: ours(model, j),
            "ours, float32 throughout": lambda j: ours(model, j, False),
            "TextAttack, model as open_clip loads it": lambda j: textattack_job(loaded, j),
            "TextAttack, our encoder": lambda j: textattack_job(own, j),
            "ours, one caption at a time": lambda j: one_by_one(own, j),
        }
        for each in jobs.values():
            each(Job(job.attack, job.captions[:2], job.losses[:2], job.options[:2]))
        seen: dict[str, list[Outcome]] = {k: [] for k in jobs}
        for _ in range(repeats):
            for kind, each in jobs.items():
                seen[kind].append(each(job))
        base = statistics.median(o.seconds for o in seen["ours"])
        for kind, outcomes in seen.items():
            took = statistics.median(o.seconds for o in outcomes)
            lines.append(f"| `{name}` | {kind} | {took / n * 1000:.0f} ms | "
                         f"{outcomes[0].queries / n:.1f} | {outcomes[0].gain:.3g} | "
                         f"{'' if kind == 'ours' else f'{took / base:.1f}'} |")
    return lines


def prompts(model: DualEncoder, n: int) -> float:
    """Seconds for attacking n class prompts at once by `bert`, as the paper does, the language
    model's reading included, on one photo."""
    from explorer.attacks.language.masked import _loaded, masked_lm
    from explorer.attacks.language.thesaurus import thesaurus

    masked_lm()
    book = thesaurus()
    nouns = sorted({word for part, word in book.senses if part == "noun" and word.isalpha()
                    and 3 < len(word) < 10})
    names = Random(0).sample(nouns, n)
    example = load_examples()["cat"]
    one = one_pair(open_image(example.path), [f"a photo of a {w}" for w in names], 0, model.frame)
    model._texts.clear()
    with contextlib.suppress(KeyError):
        _loaded["embedded"]._known.clear()  # type: ignore[attr-defined]
    began = time.perf_counter()
    run(BertAttack(objective="kl", captions="all"), model, Pairs(one.images, one.captions,
                                                                one.labels))
    return time.perf_counter() - began


def section(model: DualEncoder, folder: Path, n: int = 40, repeats: int = 3,
            many: int = PROMPTS) -> str:
    """The part of the page, heading first."""
    from explorer.attacks.text.recipes import _package

    _package()
    threads = torch.get_num_threads()
    took = prompts(model, many)
    return "\n".join([
        HEAD, "",
        f"{n} captions of the app's photos, one word each, pocket, {threads} "
        f"thread{'s' * (threads > 1)}; medians of {repeats}, jobs taking turns. All get the same "
        "candidates, looked up before, keep stop words, order words by deletion and take the best "
        "candidate: TextAttack's GreedyWordSwapWIR, and our search. Goal: TextAttack and one "
        "caption at a time at least 5 times as slow.", "",
        "| attack | search | a caption | captions scored | mean KL reached | times as slow |",
        "|---|---|---|---|---|---|", *rows(model, folder, n, repeats), "",
        f"All {many} class prompts by `bert`, the masked language model's reading included: "
        f"{took:.1f} s (goal: 60 s for 200 on two cores).", ""])


def main() -> int:
    parser = argparse.ArgumentParser(description="Times our text search beside TextAttack's.")
    parser.add_argument("--quick", action="store_true", help="fewer captions, one repeat; only "
                        "prints")
    args = parser.parse_args()
    keep_memory()
    model, folder = Library().load("pocket", "cpu"), ASSETS / "models" / "pocket"
    part = section(model, folder, 8, 1) if args.quick else section(model, folder)
    if not args.quick:
        put(part)
    print(part)
    return 0


if __name__ == "__main__":
    sys.exit(main())
