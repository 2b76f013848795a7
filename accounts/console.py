"""The staff console's front door: the site's own sign-in, and a second factor before anything is shown."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from unfold.sites import UnfoldAdminSite

from accounts import access


class Console(UnfoldAdminSite):  # type: ignore[misc]  # unfold has no types
    """Staff sign in where everybody does, so that rate limits and second factors hold here too."""

    def has_permission(self, request: HttpRequest) -> bool:
        user = request.user
        if not user.is_active or not user.is_staff or access.lacks_second_factor(user):
            return False
        return user.has_perm("console.open")

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return access.staff_door(request, "console.open") or redirect("admin:index")

    def logout(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return redirect("account_logout")
