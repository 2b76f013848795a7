"""The one table from an exception to what an API client sees."""

from typing import Any

from rest_framework import exceptions, status
from rest_framework.response import Response
from rest_framework.views import exception_handler


def api_exception(error: Exception, context: dict[str, Any]) -> Response | None:
    """`{"error": {"message", "code"}}` for every refusal of the REST API; None lets Django answer 500."""
    response = exception_handler(error, context)
    if response is None:
        return None
    body: dict[str, Any] = {"message": _message(error), "code": _code(error)}
    if isinstance(error, exceptions.ValidationError) and isinstance(error.detail, dict):
        body["fields"] = error.detail
    response.data = {"error": body}
    return response


def _message(error: Exception) -> str:
    detail = getattr(error, "detail", None)
    if isinstance(detail, dict):
        return "; ".join(f"{field}: {' '.join(map(str, texts))}" for field, texts in detail.items())
    if isinstance(detail, list):
        return " ".join(map(str, detail))
    return str(detail or "Not found.")


def _code(error: Exception) -> str:
    if isinstance(error, exceptions.ValidationError):
        return "invalid"
    if isinstance(error, exceptions.APIException):
        code = error.get_codes()
        return code if isinstance(code, str) else error.default_code
    return "not_found" if getattr(error, "status_code", None) != status.HTTP_403_FORBIDDEN else "permission_denied"
