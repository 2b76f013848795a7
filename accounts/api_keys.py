"""The text of an API key: made once, shown once, recognised by its digest; pure but for the source of chance."""

import hashlib
import secrets
from dataclasses import dataclass

MARK = "ch_live_"
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


@dataclass(frozen=True, kw_only=True)
class IssuedKey:
    """A new key: `text` goes to its owner and nowhere else; the database keeps prefix and digest."""

    text: str
    prefix: str
    secret_sha256: bytes


def digest(text: str) -> bytes:
    """SHA-256 of the whole text. A 256-bit random secret needs no slow hash."""
    return hashlib.sha256(text.encode()).digest()


def issue() -> IssuedKey:
    """`ch_live_` + 8 characters to recognise it by + `_` + 43 base64url characters of a 256-bit secret."""
    prefix = MARK + "".join(secrets.choice(_LETTERS) for _ in range(8))
    text = f"{prefix}_{secrets.token_urlsafe(32)}"
    return IssuedKey(text=text, prefix=prefix, secret_sha256=digest(text))
