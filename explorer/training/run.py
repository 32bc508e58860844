"""A run from its start to a model folder: trains, measures, saves, obeys, and writes it down."""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterator
from dataclasses import replace
from typing import Any

from explorer.base.errors import InputError
from explorer.base.versions import versions
from explorer.data.sets import Examples, read_examples
from explorer.models.cards import Card
from explorer.models.folders import base_config
from explorer.models.library import Library
from explorer.models.loaders import open_model
from explorer.results.saving import check_writable
from explorer.training import checkpoints
from explorer.training.costs import STEPS, Cost
from explorer.training.data import TrainingSet, open_training
from explorer.training.errors import TrainingError
from explorer.training.events import End, Event, Note, Probe
from explorer.training.export import export, place, write_card
from explorer.training.folder import RunFolder
from explorer.training.gather import from_first, world
from explorer.training.inner import TextInner
from explorer.training.plan import TrainingPlan
from explorer.training.probe import probe
from explorer.training.trainer import Trainer, make_accelerator

NAP = 0.3  # seconds between two looks at `control` while paused


def run(plan: TrainingPlan, resume: bool = False, text_inner: TextInner | None = None,
        ) -> Iterator[Event]:
    """Runs a plan in its folder, yielding what happens; every process of a run calls it.

    resume: go on from the newest checkpoint of the folder, from the start where there is none.
    Raises InputError for wrong input and TrainingError when the run cannot go on; both are also
    in the log.
    """
    folder = RunFolder(plan.out)
    if plan.out.is_file():
        raise InputError(f"{plan.out} is a file: --out must be a folder")
    if not resume and (folder.run.exists() or checkpoints.saved(folder.checkpoints)):
        raise InputError(f"{plan.out} already holds a run: add --resume to go on with it, or "
                         "choose another folder")
    if not resume and folder.model.exists():
        raise InputError(f"{folder.model} is in the way: choose another folder")
    check_writable(plan.out)
    try:
        for event in _Running(plan, folder, resume, text_inner).events():
            if world()[0] == 0:
                folder.write(event)
            yield event
    except (InputError, TrainingError) as error:
        if world()[0] == 0 and folder.run.exists():
            folder.line({"kind": "error", "text": str(error),
                         "status": 2 if isinstance(error, InputError) else 1})
        raise


class _Running:
    """One process's share of a run."""

    def __init__(self, plan: TrainingPlan, folder: RunFolder, resume: bool,
                 text_inner: TextInner | None) -> None:
        """Reads the data and the model: whatever is wrong with them is said here."""
        self.plan, self.folder, self.resume = plan, folder, resume
        self.began, self.probe_s = time.monotonic(), 0.0
        accelerator = make_accelerator(plan.cpu)
        self.first = world()[0] == 0
        self.card = Library(plan.folders).card(plan.base)
        self.data, self.held_out = read_data(plan)
        base = open_model(self.card, str(accelerator.device))
        base_config(self.card, base)  # says so now when the result could not be saved
        self.trainer = Trainer(plan.recipe, base, self.data, accelerator, text_inner)
        self.probe_every = plan.probe_every or max(1, self.trainer.total // 10)
        self.saved_step = -1

    def events(self) -> Iterator[Event]:
        self.started = time.time()
        if self.first:
            self.folder.begin(self._told())
        if self.first and not self.resume:
            yield Note(self.data.understood.paragraph())
        yield from self._restore()
        if self.trainer.step == 0:
            yield from self._probe()
            yield from self._budget()
        reason = "finished"
        for step in self.trainer.steps():
            yield step
            if step.index % self.plan.save_every == 0 or step.index == step.total:
                yield from self._save()
            if step.index % self.probe_every == 0 and step.index < step.total:
                yield from self._probe()
            order = yield from self._obey()
            if order == "stop":
                reason = "stopped"
                yield from self._save()
                break
        yield from self._finish(reason)

    def _told(self) -> dict[str, Any]:
        return {**self.plan.told(), "started": self.started, "pid": os.getpid(),
                "total": self.trainer.total, "pictures": len(self.data),
                "processes": world()[1], "versions": versions()}

    def _budget(self) -> Iterator[Event]:
        """Turns minutes into steps, once: run.json has them from then on."""
        minutes, recipe = self.plan.minutes, self.plan.recipe
        if minutes is None or recipe.steps:
            return
        yield Note(f"timing {STEPS} steps, to see how many fit into {minutes:g} minutes")
        step_s = self.trainer.pace(STEPS - 1)
        spent = time.monotonic() - self.began
        cost = from_first(Cost(spent - self.probe_s, step_s, self.probe_s, len(self.data),
                               recipe.batch))
        steps = cost.steps(minutes)
        recipe = replace(recipe, steps=steps, warmup=min(recipe.warmup, steps // 10))
        self.probe_every = max(1, -(-steps // (cost.probes(minutes) - 1)))
        self.plan = replace(self.plan, recipe=recipe, probe_every=self.probe_every)
        self.trainer.recipe, self.trainer.total = recipe, steps
        if self.first:
            self.folder.tell(self._told())
            yield Note(cost.warning(minutes) or f"{minutes:g} minutes are {steps:,} steps here")

    def _restore(self) -> Iterator[Event]:
        if not self.resume:
            return
        state, notes = checkpoints.load_newest(self.folder.checkpoints)
        yield from (Note(text) for text in notes)
        if state is None:
            yield Note("there is no checkpoint yet, so the run starts from its beginning")
            return
        self.trainer.restore(state)
        self.saved_step = self.trainer.step
        yield Note(f"going on after step {self.trainer.step}")

    def _save(self) -> Iterator[Event]:
        """A checkpoint, once for each step; a full disk is said, and the older ones stay."""
        if self.saved_step == self.trainer.step or not self.first:
            return
        try:
            checkpoints.save(self.folder.checkpoints, self.trainer.step, self.trainer.state())
            self.saved_step = self.trainer.step
        except OSError as error:
            yield Note(f"the checkpoint of step {self.trainer.step} could not be written "
                       f"({error.strerror or error}): the older ones stay, and the run goes on")

    def _probe(self) -> Iterator[Event]:
        if self.first and self.held_out is not None:
            began = time.monotonic()
            found = probe(self.trainer.refresh(), self.held_out, self.plan.recipe,
                          self.trainer.step, self.trainer.total)
            self.probe_s = time.monotonic() - began
            yield found

    def _obey(self) -> Generator[Event, None, str]:
        """Reads `control`; returns "stop" or "". Pauses as long as it says so."""
        order = from_first(self.folder.order() if self.first else "")
        if order != "pause":
            return order
        yield Note(f"paused after step {self.trainer.step}")
        while order == "pause":
            time.sleep(NAP)
            order = from_first(self.folder.order() if self.first else "")
        if order != "stop":
            yield Note("going on")
        return order

    def _finish(self, reason: str) -> Iterator[Event]:
        """Writes the model folder, measures it as it is on disk, and puts it in place."""
        hours = self.trainer.seconds / 3600
        if self.first:
            card = model_card(self.plan, self.card, self.data, self.trainer, reason)
            aside = export(self.trainer.refresh(), self.card, self.folder.model)
            if self.held_out is not None:
                found = replace(self.card, source=f"local-dir:{aside}", sha256=None)
                kept = open_model(found, str(self.trainer.accelerator.device))
                last: Probe = probe(kept, self.held_out, self.plan.recipe, self.trainer.step,
                                    self.trainer.total)
                yield last
                card["numbers"] = last.numbers
            write_card(aside, card)
            place(aside, self.folder.model)
        self.trainer.accelerator.wait_for_everyone()
        yield End(reason, self.trainer.step, hours)


def read_data(plan: TrainingPlan) -> tuple[TrainingSet, Examples | None]:
    """What is trained on, and what is measured."""
    r = plan.recipe
    if plan.eval_data is None:
        return open_training(plan.data, r.template, plan.probe_images, r.seed, plan.columns)
    data, _ = open_training(plan.data, r.template, columns=plan.columns)
    return data, read_examples(plan.eval_data, plan.probe_images or None, r.seed)


def model_card(plan: TrainingPlan, base: Card, data: TrainingSet, trainer: Trainer, reason: str,
               ) -> dict[str, Any]:
    """What card.json says; its numbers come once they are measured."""
    r = plan.recipe
    name = plan.name or plan.out.resolve().name
    return {
        "id": name, "title": f"{name} ({r.method})",
        "kind": "robust" if r.kind.hardens else "standard", "base": base.id,
        "licence": base.licence, "architecture": base.architecture,
        "about": f"{base.title}, fine-tuned on {data.name}. {r.kind.title}.",
        "method": {"name": r.method, "source": r.kind.source}, "recipe": r.as_dict(),
        "data": {"name": data.name, "pictures": len(data), "captions": len(data.captions),
                 **{k: v for k, v in data.fingerprint.items() if k != "pictures"}},
        "seed": r.seed, "steps": trainer.step, "reason": reason,
        "hours": round(trainer.seconds / 3600, 4), "versions": versions(), "numbers": {},
    }
