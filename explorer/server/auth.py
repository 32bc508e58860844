"""Who may enter: HTTP Basic over every path at once, checked in constant time, with a lock-out.

One door before everything else, since several of Gradio's own paths ask for no log-in. Passwords
travel as they are: serve through a proxy with TLS.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from pathlib import Path

from explorer.base.errors import InputError
from explorer.base.settings import Settings

REALM = 'Basic realm="CLIP robustness explorer", charset="UTF-8"'


class Accounts:
    """Users and digests of their passwords; none: everybody may enter."""

    def __init__(self, passwords: Mapping[str, str]) -> None:
        self._digests = {user: _digest(word) for user, word in passwords.items()}

    @classmethod
    def from_settings(cls, settings: Settings) -> Accounts:
        """From EXPLORER_AUTH or the lines of EXPLORER_AUTH_FILE. Raises InputError."""
        if settings.auth and settings.auth_file:
            raise InputError("give either EXPLORER_AUTH or EXPLORER_AUTH_FILE, not both")
        if settings.auth:
            return cls(dict([_account(settings.auth, "EXPLORER_AUTH")]))
        if not settings.auth_file:
            return cls({})
        try:
            lines = Path(settings.auth_file).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot read the file of users {settings.auth_file}: "
                             f"{getattr(error, 'strerror', None) or 'not UTF-8 text'}") from None
        found = dict(_account(line.strip(), f"line {n} of {Path(settings.auth_file).name}")
                     for n, line in enumerate(lines, 1)
                     if line.strip() and not line.startswith("#"))
        if not found:
            raise InputError(f"the file of users {settings.auth_file} names nobody")
        return cls(found)

    def __bool__(self) -> bool:
        return bool(self._digests)

    def accepts(self, header: str) -> str | None:
        """The user an Authorization header proves, or None. The time taken does not tell whether
        the user exists, or how much of the password is right."""
        user, password = _credentials(header)
        wanted = self._digests.get(user, _digest(""))
        right = hmac.compare_digest(_digest(password), wanted)
        return user if right and user in self._digests else None


def _account(line: str, where: str) -> tuple[str, str]:
    user, colon, password = line.partition(":")
    if not colon or not user or len(password) < 8:
        raise InputError(f"{where} must read user:password, the password of 8 characters or more")
    return user, password


def _digest(word: str) -> bytes:
    return hashlib.sha256(word.encode("utf-8", "surrogatepass")).digest()


def _credentials(header: str) -> tuple[str, str]:
    scheme, _, rest = header.partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        raw = base64.b64decode(rest.strip(), validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        return "", ""
    user, _, password = raw.partition(":")
    return user, password
