"""Long work behind the page: kept on disk, one at a time, taken up again after a restart.

A piece of work has a folder WORKS/ID. work.json says what is wanted and how far it has come; what
the work finds lies beside it, so that neither a closed tab nor a killed server loses anything.
"""

from __future__ import annotations

import logging
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from explorer.base.errors import InputError
from explorer.base.progress import Progress
from explorer.jobs.workrecord import (
    BUSY,
    DONE,
    EACH,
    FAILED,
    RUNNING,
    STOPPED,
    WAITING,
    Shelf,
    Work,
)

__all__ = ["BUSY", "DONE", "FAILED", "RUNNING", "STOPPED", "WAITING", "Background", "Progress",
           "Runner", "Turn", "Work", "no_turn"]

LOG = logging.getLogger(__name__)
LOOK = 2.0  # seconds between two looks for new work


Runner = Callable[[Work], Iterator[Progress]]
Turn = Callable[[str], AbstractContextManager[Any]]


def no_turn(_: str) -> AbstractContextManager[Any]:
    return nullcontext()


class Background(Shelf):
    """The works of a folder and the thread that does them.

    runners: what does each kind, an iterator that can be left at any step and, started again,
    goes on from what is on disk. turn: held while a step is computed. Any number of these may work
    on one folder: one of them computes. Raises InputError when the folder cannot be made.
    """

    def __init__(self, folder: Path, runners: Mapping[str, Runner], turn: Turn = no_turn) -> None:
        super().__init__(folder)
        self.runners, self.turn = dict(runners), turn
        self._now: dict[str, Progress] = {}
        self._asked: float | None = None  # since when the running work waits for its turn
        self._wake, self._closed = threading.Event(), threading.Event()

    # -- what anybody may ask ---------------------------------------------------------------------

    def submit(self, kind: str, owner: str, fill: Callable[[Path], tuple[str, dict[str, Any]]],
               ) -> Work:
        """Queues work. fill: puts its files into its folder and returns the title and the wish;
        what it raises undoes the folder. An owner's oldest finished works make room for it."""
        mine = self.list(owner)
        if sum(work.state in BUSY for work in mine) >= EACH:
            raise InputError(f"you have {EACH} of these waiting already: let one finish, or stop "
                             "one")
        now = time.time()
        name = f"{time.strftime('%Y%m%d-%H%M%S', time.localtime(now))}-{secrets.token_hex(4)}"
        folder = self.folder / name
        try:
            folder.mkdir()
            title, wish = fill(folder)
            work = Work(name, kind, owner, title, now, folder, wish)
            self.save(work)
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise InputError(f"cannot keep it on disk: {error.strerror}") from None
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self.make_room(owner)
        self._wake.set()
        return work

    def get(self, name: str, owner: str | None = None) -> Work:
        """One work, as far as it has come. Raises InputError when it is not there or another's."""
        work = self.read(name)
        if owner is not None and work.owner != owner:
            raise InputError("there is no such work")
        now, asked = self._now.get(name), self._asked
        if work.state != RUNNING:
            return work
        if now is not None:
            work = replace(work, done=now.done, total=now.total, text=now.text)
        if asked is not None and time.monotonic() - asked > LOOK:
            return replace(work, text="Waiting for the device: another run goes first.")
        return work

    def ahead(self, work: Work) -> int:
        """How many works go before a waiting one."""
        return sum(other.state == RUNNING or (other.state == WAITING and (
            other.created, other.id) < (work.created, work.id)) for other in self.list()
            if other.id != work.id)

    def stop(self, name: str, owner: str | None = None) -> None:
        """Ends a work at its next step; what it found stays, and it can go on later."""
        work = self.get(name, owner)
        if work.state not in BUSY:
            raise InputError(f"it is {work.state} already")
        (work.folder / "stop").touch()
        if work.state == WAITING:
            self.save(replace(self.read(name), state=STOPPED))

    def go_on(self, name: str, owner: str | None = None) -> None:
        """Queues a work that ended early once more."""
        work = self.get(name, owner)
        if work.state not in (STOPPED, FAILED):
            raise InputError(f"it is {work.state}: there is nothing to go on with")
        (work.folder / "stop").unlink(missing_ok=True)
        self.save(replace(work, state=WAITING, text=""))
        self._wake.set()

    def delete(self, name: str, owner: str | None = None) -> None:
        """Removes a work and all it found."""
        work = self.get(name, owner)
        if work.state == RUNNING:
            raise InputError("it is running: stop it first")
        shutil.rmtree(work.folder, ignore_errors=True)

    # -- the thread -------------------------------------------------------------------------------

    def watch(self) -> threading.Thread:
        """Starts the thread that does the work."""
        thread = threading.Thread(target=self._loop, name="background-work", daemon=True)
        thread.start()
        return thread

    def close(self) -> None:
        self._closed.set()
        self._wake.set()

    def _loop(self) -> None:
        with open(self.folder / "works.lock", "wb") as handle:
            while not self._closed.is_set() and not _locked(handle):
                self._closed.wait(LOOK)
            for work in self.list():  # of a server that was killed
                if work.state == RUNNING:
                    self.save(replace(work, state=WAITING))
            while not self._closed.is_set():
                try:
                    if not self.step():
                        self._wake.wait(LOOK)
                        self._wake.clear()
                except OSError:  # a full disk now may have room later
                    LOG.exception("background work cannot be kept")
                    self._closed.wait(LOOK)

    def step(self) -> bool:
        """Does the oldest waiting work, to its end; False when there is none."""
        waiting = [work for work in self.list() if work.state == WAITING
                   and work.kind in self.runners]
        if not waiting:
            return False
        self._do(waiting[-1])
        return True

    def _do(self, work: Work) -> None:
        work = replace(work, state=RUNNING, text="Starting …")
        self.save(work)
        try:
            for progress in self._steps(work):
                self._now[work.id] = progress
                if progress.kept and progress.done != work.done:
                    work = replace(work, done=progress.done, total=progress.total)
                    self.save(work)
                if self._closed.is_set():
                    return  # still "running" on disk: the next server goes on with it
                if (work.folder / "stop").exists():
                    (work.folder / "stop").unlink(missing_ok=True)
                    self.save(replace(work, state=STOPPED, text=""))
                    return
            self.save(replace(work, state=DONE, text=""))
        except InputError as error:
            self.save(replace(work, state=FAILED, text=_sentence(error)))
        except Exception:
            LOG.exception("background work failed")
            self.save(replace(work, state=FAILED, text="Something failed on our side; the "
                               "server's log has the details."))
        finally:
            self._now.pop(work.id, None)

    def _steps(self, work: Work) -> Iterator[Progress]:
        steps = self.runners[work.kind](work)
        try:
            while True:
                self._asked = time.monotonic()
                with self.turn(work.id):
                    self._asked = None
                    progress = next(steps, None)
                if progress is None:
                    return
                yield progress
        finally:
            self._asked = None
            close = getattr(steps, "close", None)
            if close is not None:
                close()


def _sentence(error: InputError) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."


def _locked(handle: IO[bytes]) -> bool:
    """Whether this process is now the one that computes; without file locks (Windows), always."""
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
