"""Reads Stripe's form encoding: brackets into trees, trees into checked values."""

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from sandbox.psp.errors import ApiError, invalid, missing

type Reader = Callable[[object, str], Any]
type Spec = Mapping[str, Reader]

NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
URL = re.compile(r"https?://[^\s/]+(/\S*)?(\?\S*)?")


def parse_form(text: str) -> dict[str, Any]:
    """`a[b][0]=x&c[]=y` as {"a": {"b": {"0": "x"}}, "c": {"0": "y"}}; values stay text."""
    tree: dict[str, Any] = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        match = NAME.fullmatch(name)
        if match is None:
            raise invalid(f"Invalid parameter name: {name}", param=name)
        _place(tree, [match[1], *re.findall(r"\[([^\[\]]*)\]", match[2])], value, name)
    return tree


def read(tree: Mapping[str, Any], spec: Spec, *, required: tuple[str, ...] = (), at: str = "") -> dict[str, Any]:
    """The values given, checked one by one; an unknown name is refused, as Stripe does."""
    for name in tree:
        if name not in spec:
            unknown = _below(at, name)
            raise invalid(f"Received unknown parameter: {unknown}", param=unknown, code="parameter_unknown")
    values = {name: spec[name](value, _below(at, name)) for name, value in tree.items()}
    for name in required:
        if values.get(name) is None:
            raise missing(_below(at, name))
    return values


def string(limit: int = 5000) -> Reader:
    def reader(value: object, param: str) -> str | None:
        text = _scalar(value, param)
        if len(text) > limit:
            raise invalid(f"Invalid string: must be at most {limit} characters", param=param)
        return text or None

    return reader


def email(value: object, param: str) -> str | None:
    text = _scalar(value, param)
    if text and not re.fullmatch(r"[^@\s]+@[^@\s]+", text):
        raise invalid(f"Invalid email address: {text}", param=param, code="email_invalid")
    return text or None


def url(value: object, param: str) -> str | None:
    text = _scalar(value, param)
    if text and not URL.fullmatch(text):
        raise invalid("Not a valid URL", param=param, code="url_invalid")
    return text or None


def integer(*, least: int = 0, most: int = 2**53) -> Reader:
    def reader(value: object, param: str) -> int | None:
        text = _scalar(value, param)
        if not text:
            return None
        if not re.fullmatch(r"-?[0-9]{1,18}", text):
            raise invalid(f"Invalid integer: {text}", param=param, code="parameter_invalid_integer")
        if not least <= int(text) <= most:
            raise invalid(f"This value must be from {least} to {most}", param=param)
        return int(text)

    return reader


def boolean(value: object, param: str) -> bool | None:
    text = _scalar(value, param)
    if text not in ("true", "false", ""):
        raise invalid(f"Invalid boolean: {text}", param=param)
    return text == "true" if text else None


def one_of(*choices: str) -> Reader:
    def reader(value: object, param: str) -> str | None:
        text = _scalar(value, param)
        if text and text not in choices:
            raise invalid(f"Invalid {param}: must be one of {', '.join(choices)}", param=param)
        return text or None

    return reader


def currency(value: object, param: str) -> str:
    text = _scalar(value, param).lower()
    if text not in ("usd", "eur", "gbp"):
        raise invalid(f"Invalid currency: {text}. The sandbox knows usd, eur and gbp.", param=param)
    return text


def nested(spec: Spec, *, required: tuple[str, ...] = ()) -> Reader:
    def reader(value: object, param: str) -> dict[str, Any] | None:
        if value == "":
            return None
        if not isinstance(value, dict):
            raise invalid("Invalid object", param=param)
        return read(value, spec, required=required, at=param)

    return reader


def array(of: Reader) -> Reader:
    def reader(value: object, param: str) -> list[Any]:
        if value == "":
            return []
        if not isinstance(value, dict) or not all(key.isdecimal() for key in value):
            raise invalid("Invalid array", param=param)
        return [of(value[key], f"{param}[{key}]") for key in sorted(value, key=int)]

    return reader


def metadata(value: object, param: str) -> dict[str, str]:
    """Up to 50 keys of 40 characters with values of 500; an empty value removes its key."""
    if value == "":
        return {"": ""}
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise invalid("Invalid metadata: must be a map of strings", param=param)
    if len(value) > 50 or any(len(key) > 40 or len(text) > 500 for key, text in value.items()):
        raise invalid("Metadata takes 50 keys of 40 characters, values of 500", param=param)
    return value


def merge_metadata(old: dict[str, str], given: dict[str, str] | None) -> dict[str, str]:
    if given is None:
        return old
    if "" in given:
        return {}
    return {key: text for key, text in {**old, **given}.items() if text}


ADDRESS: Spec = {name: string() for name in ("city", "country", "line1", "line2", "postal_code", "state")}


def _below(at: str, name: str) -> str:
    return f"{at}[{name}]" if at else name


def _scalar(value: object, param: str) -> str:
    if not isinstance(value, str):
        raise invalid("Invalid value: expected one value, found a nested one", param=param)
    return value.strip()


def _place(tree: dict[str, Any], path: list[str], value: str, name: str) -> None:
    for step in path[:-1]:
        inner = tree.setdefault(step or str(len(tree)), {})
        if not isinstance(inner, dict):
            raise ApiError(f"Invalid parameters: {name} is given twice in different shapes", param=name)
        tree = inner
    last = path[-1] or str(len(tree))
    if isinstance(tree.get(last), dict):
        raise ApiError(f"Invalid parameters: {name} is given twice in different shapes", param=name)
    tree[last] = value
