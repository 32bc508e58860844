"""Whether the Hugging Face hub answers, asked once and quickly.

Its own client retries for three quarters of a minute before it says that there is no network.
"""

from __future__ import annotations

import os
import socket
from urllib.parse import urlsplit

from explorer.base.errors import InputError

PATIENCE = 4.0  # seconds
PROXIES = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")


def require(repository: str, file: str) -> None:
    """Raises InputError when `file` of a hub repository is neither stored here nor reachable."""
    from huggingface_hub import constants, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        if isinstance(try_to_load_from_cache(repository, file), str):
            return
    except HFValidationError:
        raise InputError(f"cannot fetch the model {repository}: that is not the name of a hub "
                         "repository") from None
    if any(os.environ.get(name) for name in PROXIES) and not constants.HF_HUB_OFFLINE:
        return  # only the proxy knows
    address = urlsplit(constants.ENDPOINT)
    try:
        if constants.HF_HUB_OFFLINE:
            raise OSError("HF_HUB_OFFLINE is set")
        port = address.port or (443 if address.scheme == "https" else 80)
        socket.create_connection((address.hostname, port), PATIENCE).close()
    except OSError as error:
        raise InputError(f"cannot fetch the model {repository}: the hub is not reachable from "
                         f"here, and there is no stored copy ({error})") from None
