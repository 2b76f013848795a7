"""The API's description for people: its OpenAPI document, set as a page without a script from elsewhere."""

import functools
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET
from drf_spectacular.generators import SchemaGenerator


@dataclass(frozen=True, kw_only=True)
class Member:
    """A parameter or a member of an answer: `kind` in words, `note` what it means."""

    name: str
    kind: str
    note: str


@dataclass(frozen=True, kw_only=True)
class Operation:
    anchor: str
    method: str
    path: str
    summary: str
    description: str
    parameters: list[Member]
    answer: list[Member]


@require_GET
def page(request: HttpRequest) -> HttpResponse:
    return render(request, "billing/api_docs.html", {"operations": operations(), "web_url": settings.WEB_URL})


@functools.cache
def operations() -> list[Operation]:
    """The operations of the OpenAPI document, in its order."""
    schema = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    return [
        Operation(
            anchor=str(operation["operationId"]),
            method=method.upper(),
            path=path,
            summary=operation.get("summary", ""),
            description=operation.get("description", ""),
            parameters=[_parameter(given) for given in operation.get("parameters", [])],
            answer=list(_members(schema, _answer(operation))),
        )
        for path, methods in schema["paths"].items()
        if not path.endswith("/schema/")
        for method, operation in methods.items()
    ]


def _parameter(given: dict[str, Any]) -> Member:
    note = given.get("description", "")
    return Member(name=given["name"], kind=_kind(given["schema"]), note=note)


def _answer(operation: dict[str, Any]) -> dict[str, Any]:
    content = operation["responses"]["200"].get("content", {})
    found: dict[str, Any] = content.get("application/json", {}).get("schema", {})
    return found


def _members(schema: dict[str, Any], shape: dict[str, Any], before: str = "") -> Any:
    """Every member with its path: `data[].charge_nano_usd`."""
    if "$ref" in shape:
        shape = schema["components"]["schemas"][shape["$ref"].rsplit("/", 1)[1]]
    for name, member in shape.get("properties", {}).items():
        if member.get("type") == "array":
            yield from _members(schema, member["items"], f"{before}{name}[].")
        else:
            yield Member(name=f"{before}{name}", kind=_kind(member), note=member.get("description", ""))


def _kind(shape: dict[str, Any]) -> str:
    if "enum" in shape:
        return " or ".join(map(str, shape["enum"]))
    if "allOf" in shape or "$ref" in shape:
        return "one of a few words"
    kinds = shape.get("type", "text")
    word = next((kind for kind in kinds if kind != "null"), "") if isinstance(kinds, list) else kinds
    words = {"date-time": "time, ISO 8601", "date": "date", "uuid": "UUID"}
    if str(shape.get("pattern", "")).startswith("^-?"):
        return "digits as text"
    return words.get(shape.get("format", ""), {"string": "text", "integer": "whole number"}.get(word, word))
