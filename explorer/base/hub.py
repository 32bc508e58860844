"""Whether the Hugging Face hub answers, asked once and quickly.

Its own client retries for three quarters of a minute before it says that there is no network.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from explorer.base.errors import InputError

PATIENCE = 4.0  # seconds
PROXIES = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")


def require(repository: str, file: str) -> None:
    """Raises InputError when `file` of a hub repository is neither stored here nor reachable."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        if isinstance(try_to_load_from_cache(repository, file), str):
            return
    except HFValidationError:
        raise InputError(f"cannot fetch the model {repository}: that is not the name of a hub "
                         "repository") from None
    if (fault := silence()) is not None:
        raise InputError(f"cannot fetch the model {repository}: the hub is not reachable from "
                         f"here, and there is no stored copy ({fault})")


def silence() -> OSError | None:
    """Why the hub does not answer; None where it does, or where only a proxy knows."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return OSError("HF_HUB_OFFLINE is set")
    if any(os.environ.get(name) for name in PROXIES):
        return None
    address = urlsplit(constants.ENDPOINT)
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        socket.create_connection((address.hostname, port), PATIENCE).close()
    except OSError as error:
        return error
    return None


@contextmanager
def asked_once() -> Iterator[None]:
    """For code of others that fetches models: what is stored is found, and where the hub does not
    answer nothing else is waited for."""
    from huggingface_hub import constants
    from huggingface_hub.utils import reset_sessions  # type: ignore[attr-defined]

    if constants.HF_HUB_OFFLINE or silence() is None:
        yield
        return
    constants.HF_HUB_OFFLINE = True
    reset_sessions()
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = False
        reset_sessions()
