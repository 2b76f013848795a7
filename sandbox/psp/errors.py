"""Every refusal the provider can give, in the body shape Stripe answers with."""

import dataclasses
from typing import Any

JSON = dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """One finished HTTP answer: status, JSON body and whether it is a stored one sent again."""

    status: int
    body: JSON
    replay_of: str | None = None


class ApiError(Exception):
    """A refusal. `executed` says that work had begun, so that an idempotency key keeps this result."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        type: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        executed: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.executed = executed
        fields = {"code": code, "message": message, "param": param, "type": type}
        self.error: JSON = {name: value for name, value in fields.items() if value is not None}

    def answer(self) -> Answer:
        return Answer(status=self.status, body={"error": self.error})


def invalid(message: str, *, param: str, code: str = "parameter_invalid") -> ApiError:
    """A parameter is wrong: found before any work, so no idempotency key remembers it."""
    return ApiError(message, code=code, param=param)


def missing(param: str) -> ApiError:
    return ApiError(f"Missing required param: {param}.", code="parameter_missing", param=param)


def no_such(kind: str, id: str, *, param: str = "id") -> ApiError:
    words = {"checkout.session": "checkout session", "payment_intent": "payment_intent"}
    status = 404 if param in ("id", "intent", "session") else 400
    return ApiError(
        f"No such {words.get(kind, kind)}: '{id}'",
        status=status,
        code="resource_missing",
        param=param,
        executed=True,
    )


def wrong_state(message: str, *, code: str | None = None, param: str | None = None) -> ApiError:
    return ApiError(message, code=code, param=param, executed=True)


def internal() -> ApiError:
    return ApiError("An error occurred on the sandbox's side.", status=500, type="api_error", executed=True)


def rate_limited() -> ApiError:
    return ApiError("Too many requests hit the API too quickly.", status=429, code="rate_limit")
