"""Models opened behind the first page."""

from __future__ import annotations

import gc
import threading

from explorer.base.errors import InputError
from explorer.models.library import Library
from explorer.server.serve import Health


def warm(library: Library, names: tuple[str, ...], health: Health | None = None,
         ) -> threading.Thread:
    """Opens models behind the first page, side by side; a fault is told to `health`, and by the
    first attack. Afterwards the garbage collector works, and passes over all that is there."""
    faults: list[str] = []

    def opened(name: str) -> None:
        try:
            library.load(name)
        except InputError as error:
            faults.append(str(error))
        except Exception as error:
            faults.append(f"the model {name} cannot be opened ({type(error).__name__})")
            raise  # to the log: a fault of ours

    def work() -> None:
        try:
            others = [threading.Thread(target=opened, args=(name,), daemon=True)
                      for name in names]
            for thread in others:
                thread.start()
            for thread in others:
                thread.join()
            for name in [] if faults else names:
                library.load(name)  # there already: whoever was first, they are listed in order
        finally:
            # What is there by now stays: looked through again and again, it would stop all threads
            # for half a second each time.
            gc.freeze()
            gc.enable()
            if health is not None:
                health.opened(faults[0] if faults else "")

    thread = threading.Thread(target=work, name="warm-models", daemon=True)
    thread.start()
    return thread
