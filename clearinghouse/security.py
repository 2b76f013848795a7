"""The headers that keep a page to its own origin."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

# Unfold's console styles elements inline and evaluates its Alpine expressions; the customers' pages need neither.
_STAFF = "default-src 'self'; style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
_PAGES = "default-src 'self'; "
_ALL = "img-src 'self' data:; frame-ancestors 'none'; base-uri 'self'; form-action 'self'"


class ContentSecurityPolicy:
    """Middleware: a strict policy for all pages, a wider one for the staff console's vendored scripts."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self._get_response(request)
        scope = _STAFF if request.path.startswith("/staff/") else _PAGES
        response.headers.setdefault("Content-Security-Policy", scope + _ALL)
        return response
