"""Demonstrations 5 and 6: the caption is an input too, and both inputs at once."""

from __future__ import annotations

import time

from explorer.attacks.joint import Alternating
from explorer.attacks.result import Reading, Result
from explorer.attacks.text.base import TextAttack
from explorer.attacks.text.classic import BertAttack, Character, Synonym, Typo
from explorer.base.words import class_words, words
from explorer.lessons.bench import Asked, Bench, Count
from explorer.lessons.pixels import Demo, models_of, pgd, said, three
from explorer.lessons.record import Cell, Record, Table, chance, cosine, reworded, weights, word
from explorer.results.views import percent, signed

TEXTS: dict[str, type[TextAttack]] = {"typo": Typo, "character": Character, "synonym": Synonym,
                                      "bert": BertAttack}


def lost_class_word(result: Result) -> bool:
    """Whether the true caption lost a word that tells it from the others."""
    clean, now = result.own_captions()
    own = class_words(result.captions)[int(result.labels[0])]
    return any(w not in {v.lower() for v in words(now)} for w in own) and clean != now


def wording(bench: Bench, asked: Asked) -> Demo:
    """5: four ways to change one word of the true caption. option: "free" or "protect"."""
    began, count = time.perf_counter(), Count(2 * len(TEXTS))
    model, keep = bench.standard, asked.option == "protect"
    pairs, rows, by_name = bench.one(asked, model), [], {}
    for name, kind in TEXTS.items():
        result = yield from count.run(kind(protect=keep), model, pairs)
        clean, now = result.own_captions()
        answer, p = said(result.adversarial, result.adversarial_captions[0])
        misspelt = name in ("typo", "character")
        lost = lost_class_word(result) and not misspelt
        verdict = ("unchanged" if clean == now else
                   "held" if bool(result.correct_after[0]) else "fooled")
        rows.append((word(f"text_{name}"), reworded(clean, now), answer, chance(p), word(verdict),
                     word("meaning_changed" if lost else
                          "meaning_spelling" if misspelt else "meaning_same")))
        by_name[name] = (clean, now, verdict, lost, p)
    clean, now, verdict, lost, p = by_name["bert"]
    facts = {"clean": clean, "bert_now": now, "bert_verdict": verdict, "bert_lost": lost,
             "typo_now": by_name["typo"][1], "bert_p": percent(p),
             "fooled": sum(v[2] == "fooled" for v in by_name.values()), "tried": len(by_name),
             "honest": sum(v[2] == "fooled" and not v[3] for v in by_name.values())}
    yield Record(5, asked.photo, asked.option, facts, (), (Table(
        "one_word", ("how", "caption", "answer", "probability", "verdict", "meaning"),
        tuple(rows)),), weights=weights([model]), seconds=time.perf_counter() - began)


def margin(reading: Reading, label: int) -> float:
    """Cosine of the true caption less the best other one."""
    row = reading.cosines[0].clone()
    own = float(row[label])
    row[label] = -2
    return own - float(row.max())


def both(bench: Bench, asked: Asked) -> Demo:
    """6: a joint attack taken apart. option: the text half, typo or synonym or bert."""
    began, count = time.perf_counter(), Count(30)
    rows: list[tuple[Cell, ...]] = []
    results: dict[str, Result] = {}
    facts: dict[str, str] = {}
    for role, model in models_of(bench):
        attack = Alternating(image=pgd(1), text=TEXTS[asked.option](protect=True), rounds=1)
        result = yield from count.run(attack, model, bench.one(asked, model))
        results[role] = result
        label = int(result.labels[0])
        readings = {"nothing": result.clean, "only_photo": result.image_only,
                    "only_caption": result.text_only, "together": result.adversarial}
        margins = {key: margin(r, label) for key, r in readings.items()}
        for key, reading in readings.items():
            rows.append((word(role), word(key), cosine(margins[key]),
                         chance(float(reading.probabilities[0, label])),
                         word("held" if margins[key] > 0 else "fooled")))
        clean = margins["nothing"]
        drop = {key: clean - m for key, m in margins.items()}
        rest = drop["together"] - drop["only_photo"] - drop["only_caption"]
        facts |= {f"{role}_{key}": signed(value) for key, value in drop.items()}
        facts |= {f"{role}_rest": signed(rest), f"{role}_worst": min(
            ("only_photo", "only_caption", "together"), key=margins.__getitem__)}
    now = results["robust"].own_captions()
    facts |= {"clean": now[0], "now": now[1]}
    yield Record(6, asked.photo, asked.option, facts, (), (
        Table("parts", ("model", "changed", "margin", "p_true", "verdict"), tuple(rows)),),
        three(results["robust"]), weights([r[1] for r in models_of(bench)]),
        time.perf_counter() - began)
