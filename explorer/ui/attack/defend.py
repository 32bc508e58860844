"""Defences tried on the case of the page, and the attacker who knows of one; as HTML."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from torch import Tensor

from explorer.attacks.defences.base import Defence, Transform
from explorer.attacks.defences.guard import Trial, check, stream_against, try_defence
from explorer.attacks.defences.model import Defended
from explorer.attacks.defences.registry import DEFENCES
from explorer.attacks.engine import Step
from explorer.attacks.registry import attack_of
from explorer.attacks.result import Result
from explorer.base.errors import InputError
from explorer.base.progress import Progress
from explorer.base.randomness import PerImage
from explorer.data.pairs import Pairs
from explorer.models.library import Library
from explorer.results.outcome import Outcome
from explorer.results.verdicts import verdict
from explorer.results.views import Keep, esc, inline, levels, percent, png, shown_captions, table

ASK = """
element.addEventListener('click', (event) => {
  const order = event.target.closest('[data-defend]');
  if (order && order.dataset.defend === 'universal') trigger('select', {});
  else if (order) trigger('click', {order: order.dataset.defend, name: order.dataset.name || ''});
});
"""
WORD = {"fooled": "fooled", "held": "held", "wrong": "wrong before", "unchanged": "unchanged"}
MARK = {"fooled": "✗", "held": "✓", "wrong": "!", "unchanged": "="}


@dataclass(frozen=True)
class Bench:
    """What was tried so far. tried: defence -> model -> Trial; known: the same for the attacker who
    knows of it; opened: the defence that is drawn large."""

    tried: dict[str, dict[str, Trial]] = field(default_factory=dict)
    known: dict[str, dict[str, Result]] = field(default_factory=dict)
    opened: str = ""


def attacked(outcome: Outcome | None) -> list[Result]:
    """The results of a case whose photo was attacked. Raises InputError for any other."""
    found = [part.result for part in outcome.parts if part.result] if outcome else []
    if not found:
        raise InputError("run an attack first: there is no attacked photo to defend yet")
    if found[0].kind == "text":
        raise InputError("this attack leaves the photo alone, so a defence of the photo changes "
                         "nothing: attack the photo, or both")
    if found[0].defence is not None:
        raise InputError("this saved case was read behind a defence already: press Attack, and try "
                         "defences on what comes out")
    return found


def try_all(library: Library, outcome: Outcome | None) -> Iterator[Progress | Bench]:
    """Reads the clean and the attacked photo behind every defence, on each model; a Bench after
    each defence."""
    results, bench = attacked(outcome), Bench()
    cheap = sorted(DEFENCES.items(), key=lambda item: item[1]().passes.forward)
    for number, (name, kind) in enumerate(cheap):
        yield Progress(f"Trying {kind.title}", number, len(DEFENCES))
        found = {}
        for result in results:
            try:
                check(attack_of(result.kind, result.attack, result.settings), kind())
            except InputError:
                continue  # a vote does not go with changed words
            found[result.model] = try_defence(result, library.load(result.model), kind())
        if found:
            bench = replace(bench, tried={**bench.tried, name: found})
        yield bench


def know(library: Library, outcome: Outcome | None, bench: Bench, name: str,
         ) -> Iterator[Progress | Bench]:
    """The same attack once more, by an attacker who knows of it, within the same budget."""
    if name not in bench.tried:
        raise InputError("try the defences first")
    kind, found = DEFENCES[name], dict[str, Result]()
    for result in attacked(outcome):
        model = library.load(result.model)
        attack = attack_of(result.kind, result.attack, result.settings)
        pairs = Pairs(result.images, result.captions, result.labels)
        for event in stream_against(attack, Defended(model, kind(), result.seed), pairs,
                                    result.goal, result.targets, result.seed, aware=True):
            if isinstance(event, Step):
                yield Progress(f"Attacking {result.model} through {kind.title}", event.index,
                               event.total)
            else:
                found[result.model] = event
                yield replace(bench, known={**bench.known, name: dict(found)}, opened=name)


def story(title: str, bare: str, blind: str, aware: str = "") -> str:
    """What a defence was worth, in a sentence. Each: fooled, held, wrong or unchanged."""
    if bare != "fooled":
        first = (f"{title} leaves a model that held as it was" if blind != "fooled" else
                 f"{title} breaks a model that held without it")
    else:
        first = f"{title} undid the attack" if blind != "fooled" else f"{title} did not help"
    if not aware:
        return f"{first}."
    if aware == "fooled":
        again = "wins again" if blind != "fooled" else "wins as well"
        return f"{first}; an attacker who knows of it {again}, within the same budget."
    return (f"{first}; an attacker who knows of it, with the same attack and budget, does not get "
            "through. A stronger one may.")


def offer() -> str:
    """Before anything was tried."""
    return ('<section class="rx-transfer rx-defend"><h3>Can one not just compress the photo?</h3>'
            '<p><button type="button" class="rx-link" data-defend="all">Try a defence</button> on '
            "the clean and the attacked photo: eleven ways to read a photo more carefully, without "
            'changing the model.</p></section><section class="rx-transfer rx-defend"><h3>Can one '
            'change fool every photo?</h3><p><button type="button" class="rx-link" '
            'data-defend="universal">Add it to this photo</button>: one change of at most 8 grey '
            "levels, learnt beforehand on other photos, without a look at this one. In the menu "
            "“Attack on the photo” it is “Universal”.</p></section>")


def draw_bench(bench: Bench, outcome: Outcome, keep: Keep = inline) -> str:
    """A row a defence and model, and the opened one large. keep: where its pictures go."""
    bare = {part.result.model: verdict(part.result)[0] for part in outcome.parts if part.result}
    rows = "".join(_row(bench, name, model, trial, bare[model], first)
                   for name, trials in bench.tried.items()
                   for first, (model, trial) in zip([True, *[False] * len(trials)], trials.items(),
                                                    strict=False))
    head = "".join(f'<th scope="col">{word}</th>' for word in (
        "Defence", "Model", "Clean photo", "Attacked photo", "The attacker knows", "Seconds",
        "Passes"))
    return (f'<section class="rx-transfer rx-defend"><h3>Try a defence</h3>{_told(bench, bare)}'
            '<div class="rx-scroll" tabindex="0" role="region" aria-label="Defences tried"><table>'
            f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
            f"{_large(bench, keep)}</section>")


def _told(bench: Bench, bare: dict[str, str]) -> str:
    """The sentences of the opened defence."""
    if bench.opened not in bench.tried:
        return ("<p>Press a defence to see its picture and scores, or “the attacker knows” to run "
                "the same attack, within the same budget, by an attacker who knows of it.</p>")
    title, known = DEFENCES[bench.opened].title, bench.known.get(bench.opened, {})
    said = [f"{model}: " + story(title, bare[model], verdict(trial.result)[0],
                                 verdict(known[model])[0] if model in known else "")
            for model, trial in bench.tried[bench.opened].items()]
    return "".join(f'<p class="rx-defend-said" aria-live="polite">{esc(line)}</p>' for line in said)


def _row(bench: Bench, name: str, model: str, trial: Trial, bare: str, first: bool) -> str:
    result = trial.result
    clean = "right" if bool(result.correct_before[0]) else "wrong"
    title = (f'<th scope="row" rowspan="{len(bench.tried[name])}"><button type="button" '
             f'class="rx-link" data-defend="open" data-name="{name}" aria-pressed='
             f'"{str(bench.opened == name).lower()}">{esc(trial.defence.title)}</button></th>'
             ) if first else ""
    known = bench.known.get(name, {}).get(model)
    knows = _mark(known) if known is not None else (
        f'<button type="button" class="rx-link" data-defend="know" data-name="{name}" aria-label="'
        f'The attacker knows of {esc(trial.defence.title)}">the attacker knows</button>'
        if first else "")
    cost = f'<span title="{trial.before:.2f} s without the defence">{trial.seconds:.2f} s</span>'
    return (f"<tr>{title}<td>{esc(model)}</td><td>{clean}</td><td>{_mark(result)}</td>"
            f"<td>{knows}</td><td>{cost}</td><td>{trial.defence.passes}</td></tr>")


def _mark(result: Result) -> str:
    kind, said = verdict(result)
    now = int(result.adversarial.prediction[0])
    p = percent(float(result.adversarial.probabilities[0, now]))
    return (f'<span class="rx-{kind}" title="{esc(said)}"><b aria-hidden="true">{MARK[kind]}</b> '
            f"{WORD[kind]}</span> <small>{esc(result.captions[now])} {p}</small>")


def _large(bench: Bench, keep: Keep) -> str:
    """The opened defence: what the model was given to read, and the scores."""
    if bench.opened not in bench.tried:
        return ""
    parts = []
    for model, trial in bench.tried[bench.opened].items():
        known = bench.known.get(bench.opened, {}).get(model)
        result = known or trial.result
        shown, words = _picture(trial.defence, result, keep)
        votes = "" if trial.ballots is None else "".join(
            f"<p>{which}: {esc(ballots[0].sentence())}</p>" for which, ballots in
            zip(("Clean", "Attacked"), trial.ballots, strict=True))
        rows = [[result.captions[k], *(f"{float(r.probabilities[0, k]) * 100:.1f} %" for r in (
            result.clean, result.adversarial))] for k in shown_captions(result)]
        who = "attacked by one who knows" if known is not None else "attacked by one who does not"
        parts.append(
            f'<figure><img src="{shown}" alt="{esc(words)}, {esc(model)}"><figcaption>'
            f"{esc(model)}: {esc(words)}, {who}</figcaption>{votes}"
            f'{table(["Caption", "Clean", "Attacked"], rows, f"Scores of {model}")}</figure>')
    defence = next(iter(bench.tried[bench.opened].values())).defence
    return (f'<div class="rx-columns rx-defend-large">{"".join(parts)}</div><p class="rx-note">'
            f"{esc(' '.join((type(defence).__doc__ or '').split(chr(10) * 2)[0].split()))} Source: "
            f"{esc(defence.source)}.</p>")


def _picture(defence: Defence, result: Result, keep: Keep) -> tuple[str, str]:
    """The attacked photo as the model reads it."""
    picture = result.adversarial_images
    if isinstance(defence, Transform):
        changed = defence.change(picture, PerImage(result.seed, picture))
        return _kept((changed * 255).round() / 255, keep), f"The photo after {defence.title}"
    return _kept(picture, keep), f"The photo, read {defence.passes.forward} times"


def _kept(picture: Tensor, keep: Keep) -> str:
    return keep(png(levels(picture[0])), "image/png")
