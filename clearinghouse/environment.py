"""Readers of environment variables that stop the start with one sentence when a value is bad."""

import os
import re
from fractions import Fraction
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from urllib.parse import unquote, urlsplit


class SettingError(Exception):
    """A setting from the environment cannot be used; the text says which one and what would be right."""


def text(name: str, default: str = "") -> str:
    return os.environ.get(name, "").strip() or default


def flag(name: str, *, default: bool) -> bool:
    value = text(name, "1" if default else "0").lower()
    if value not in {"0", "1", "true", "false", "yes", "no"}:
        raise SettingError(f"{name} must be 1 or 0, not {value!r}.")
    return value in {"1", "true", "yes"}


def integer(name: str, default: int, *, minimum: int = 0, maximum: int | None = None) -> int:
    value = text(name, str(default))
    if not re.fullmatch(r"-?[0-9]+", value):
        raise SettingError(f"{name} must be a whole number, not {value!r}.")
    number = int(value)
    if number < minimum or (maximum is not None and number > maximum):
        limits = f"at least {minimum}" if maximum is None else f"between {minimum} and {maximum}"
        raise SettingError(f"{name} must be {limits}, not {number}.")
    return number


def ratio(name: str, default: str) -> Fraction:
    """A non-negative exact number, written as a decimal (`1.5`) or a fraction (`3/2`)."""
    value = text(name, default)
    try:
        number = Fraction(value)
    except (ValueError, ZeroDivisionError):
        raise SettingError(f"{name} must be a number such as 1.5 or 3/2, not {value!r}.") from None
    if number < 0:
        raise SettingError(f"{name} must not be negative, not {value!r}.")
    return number


def dollars(name: str, default: str) -> int:
    """Dollars with at most nine decimals, as whole nano-dollars."""
    nano = ratio(name, default) * 10**9
    if nano.denominator != 1 or nano >= 2**62:
        raise SettingError(f"{name} must be dollars such as 250 or 0.5, not {text(name, default)!r}.")
    return nano.numerator


def choice(name: str, default: str, allowed: tuple[str, ...]) -> str:
    value = text(name, default)
    if value not in allowed:
        raise SettingError(f"{name} must be one of {', '.join(allowed)}, not {value!r}.")
    return value


def matching(name: str, default: str, pattern: str, words: str) -> str:
    """A text of a given form; `words` say what would be right."""
    value = text(name, default)
    if not re.fullmatch(pattern, value):
        raise SettingError(f"{name} must be {words}, not {value!r}.")
    return value


def pairs(name: str) -> dict[str, str]:
    """`Account holder: Acme Inc; IBAN: DE02 1203` as {"Account holder": "Acme Inc", "IBAN": "DE02 1203"}."""
    found: dict[str, str] = {}
    for part in filter(None, map(str.strip, text(name).split(";"))):
        label, colon, value = part.partition(":")
        if not (label.strip() and colon and value.strip()):
            raise SettingError(f"{name} must be pairs such as `IBAN: DE02 1203`, divided by semicolons.")
        found[label.strip()] = value.strip()
    return found


def names(name: str, default: str = "") -> list[str]:
    return [part.strip() for part in text(name, default).split(",") if part.strip()]


def networks(name: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """Addresses and networks (`10.0.0.0/8`), comma-separated."""
    try:
        return tuple(ip_network(value) for value in names(name))
    except ValueError:
        raise SettingError(f"{name} must list addresses or networks such as 10.0.0.7 or 10.0.0.0/8.") from None


def urls(name: str) -> list[str]:
    """Web addresses, separated by commas; they may hold access keys, so no message quotes them."""
    found = names(name)
    if any(urlsplit(value).scheme not in {"http", "https"} for value in found):
        raise SettingError(f"Every address in {name} must start with http:// or https://.")
    return found


def url(name: str, default: str = "") -> str:
    value = text(name, default)
    if value and urlsplit(value).scheme not in {"http", "https"}:
        raise SettingError(f"{name} must start with http:// or https://, not {value!r}.")
    return value.rstrip("/")


def origins(name: str) -> list[str]:
    """https:// URLs with host and port and no path, comma-separated."""
    found = names(name)
    for value in found:
        if not re.fullmatch(r"https://[^/?#@]+:[0-9]{1,5}/?", value):
            raise SettingError(f"{name} must list URLs like https://host:port, not {value!r}.")
    return found


def address(name: str) -> str:
    value = text(name)
    if value and not re.fullmatch(r"0x[0-9a-fA-F]{40}", value):
        raise SettingError(f"{name} must be 0x and 40 hexadecimal digits, not {value!r}.")
    return value


def file(name: str) -> Path | None:
    value = text(name)
    if not value:
        return None
    path = Path(value)
    if not path.is_file():
        raise SettingError(f"{name} names {value}, which is not a file.")
    return path


def files(name: str, pattern: str) -> tuple[Path, ...]:
    """Files, comma-separated; a folder stands for its files of that pattern, by name."""
    found: list[Path] = []
    for value in names(name):
        path = Path(value)
        if not path.is_dir() and not path.is_file():
            raise SettingError(f"{name} names {value}, which is not a file.")
        inside = sorted(path.glob(pattern)) if path.is_dir() else [path]
        if not inside:
            raise SettingError(f"{name} names {value}, a folder without {pattern}.")
        found += inside
    return tuple(found)


def database(name: str, default: str) -> dict[str, object]:
    """Django's database settings from a postgresql:// URL."""
    # The value holds a password, whole or, where it was misread, in part: no message quotes it.
    unusable = SettingError(f"{name} must look like postgresql://user:password@host:port/name.")
    try:
        parts = urlsplit(text(name, default))
        port = parts.port
    except ValueError:
        raise unusable from None
    if parts.scheme not in {"postgres", "postgresql"} or not parts.path.strip("/"):
        raise unusable
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.strip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname or "",
        "PORT": str(port or ""),
    }
