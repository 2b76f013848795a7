"""Writes down what staff were not allowed to do, after whatever they had begun was rolled back."""

from collections.abc import Callable

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse

from accounts import audit
from accounts.models import User

_LONGEST_PATH = 100


class RefusalsAreKept:
    """Middleware: a door that is shut in the face of staff leaves an entry in the audit log."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self._get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> None:
        if isinstance(exception, PermissionDenied) and isinstance(request.user, User) and request.user.is_staff:
            audit.write(
                "staff.refused",
                subject=f"page:{request.path[:_LONGEST_PATH]}",
                actor=request.user,
                after={"method": request.method, "right": str(exception)},
            )
