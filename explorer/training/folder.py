"""The folder of a run: what the Train tab, scripts and a resumed run read and write.

run.json: what was asked for. log.jsonl: one JSON an event, flushed. control: a file that others
write, with pause, resume or stop. checkpoints/, samples/ and, at the end, model/.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from explorer.base.errors import InputError
from explorer.data.pairs import to_image
from explorer.results.saving import json_bytes, write_files
from explorer.training.errors import TrainingError
from explorer.training.events import End, Event, Note, Probe, Sample, TrainingStep

ORDERS = ("pause", "resume", "stop")


class RunFolder:
    """Paths and files of one run."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.run, self.log = root / "run.json", root / "log.jsonl"
        self.control, self.model = root / "control", root / "model"
        self.checkpoints, self.samples = root / "checkpoints", root / "samples"

    def started(self) -> dict[str, Any] | None:
        """What run.json says, or None where there is no run. Raises InputError when damaged."""
        if not self.run.is_file():
            return None
        try:
            told = json.loads(self.run.read_text("utf-8"))
        except (OSError, ValueError):
            told = None
        if not isinstance(told, dict) or not isinstance(told.get("recipe"), dict):
            raise InputError(f"{self.run} is damaged: start the run anew in another folder")
        return told

    def tell(self, told: dict[str, Any]) -> None:
        """Writes run.json."""
        write_files(self.root, {self.run.name: json_bytes(told)})

    def begin(self, told: dict[str, Any]) -> None:
        """Writes run.json, and clears an order that was meant for an earlier process."""
        self.tell(told)
        self.control.unlink(missing_ok=True)
        if self.log.is_file() and self.log.stat().st_size:
            with open(self.log, "rb+") as file:  # a killed process may have left half a line
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.write(b"\n")

    def order(self) -> str:
        """The order in `control`, or "" where there is none that is known."""
        try:
            said = self.control.read_text("utf-8", "replace").strip().lower()
        except OSError:
            return ""
        return said if said in ORDERS else ""

    def write(self, event: Event) -> None:
        """Appends an event to the log. Raises TrainingError when the disk is full."""
        self.line(self._told(event))

    def line(self, told: dict[str, Any]) -> None:
        text = json.dumps({**told, "time": round(time.time(), 3)}, ensure_ascii=False,
                          allow_nan=False)
        try:
            with open(self.log, "a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text + "\n")
        except OSError as error:
            raise TrainingError(f"cannot write the log in {self.root}: "
                                f"{error.strerror or error}") from None

    def _told(self, event: Event) -> dict[str, Any]:
        if isinstance(event, TrainingStep):
            return {"kind": "step", "index": event.index, "total": event.total,
                    "losses": {k: round(v, 6) for k, v in event.losses.items()},
                    "lr": event.lr, "images_per_s": round(event.images_per_s, 3),
                    "eta_s": round(event.eta_s, 1), "unreadable": event.unreadable}
        if isinstance(event, Probe):
            shown = [self._sample(event.index, k, s) for k, s in enumerate(event.samples)]
            return {"kind": "probe", "index": event.index, "total": event.total,
                    "clean": event.clean, "robust": event.robust, "n": event.n,
                    "eps_255": round(event.eps * 255, 6), "attack_steps": event.steps,
                    "samples": shown}
        if isinstance(event, Note):
            return {"kind": "note", "text": event.text}
        assert isinstance(event, End)
        return {"kind": "end", "reason": event.reason, "index": event.step,
                "hours": round(event.hours, 4), "model": self.model.name}

    def _sample(self, index: int, number: int, sample: Sample) -> dict[str, Any]:
        """Writes the pictures of a sample; what the log says of it."""
        clean, attacked = f"{number}-clean.png", f"{index:08d}-{number}.png"
        try:
            self.samples.mkdir(parents=True, exist_ok=True)
            for name, pixels in ((clean, sample.pixels), (attacked, sample.attacked)):
                aside = self.samples / (name + ".part")
                to_image(pixels).save(aside, "PNG")
                os.replace(aside, self.samples / name)
        except OSError as error:
            raise TrainingError(f"cannot write the sample pictures in {self.samples}: "
                                f"{error.strerror or error}") from None
        return {"clean": f"{self.samples.name}/{clean}",
                "attacked": f"{self.samples.name}/{attacked}", "truth": sample.truth,
                "said": sample.said, "said_probability": round(sample.said_probability, 4),
                "attacked_said": sample.attacked_said,
                "attacked_probability": round(sample.attacked_probability, 4)}
