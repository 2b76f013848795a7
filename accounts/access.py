"""Who may open a page: a member for a customer's pages, staff with the right for it and a second factor for ours."""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate

from allauth.mfa.utils import is_mfa_enabled
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect

from accounts import roles
from accounts.models import Customer, Membership, User

CHOSEN = "customer_id"


class CustomerRequest(HttpRequest):
    """A request that `customer_required` let through."""

    user: User
    membership: Membership
    customer: Customer


class StaffRequest(HttpRequest):
    """A request that `staff_required` let through."""

    user: User


# Where staff without a seat at a customer come out: the first of these that they may open.
HOMES = [("treasury.see", "treasury"), ("books.see", "finance"), ("approvals.open", "approvals")]

type View[R: HttpRequest, **P] = Callable[Concatenate[R, P], HttpResponseBase]


def membership_of(request: HttpRequest) -> Membership | None:
    """The seat this session works from: the one chosen, else the oldest; None for guests and users without one."""
    if not request.user.is_authenticated:
        return None
    kept: Membership | None = getattr(request, "membership", None)
    if kept:
        return kept
    seats = list(Membership.objects.filter(user=request.user).select_related("customer").order_by("created_at", "id"))
    chosen = request.session.get(CHOSEN)
    seat = next((seat for seat in seats if seat.customer_id == chosen), seats[0] if seats else None)
    request.membership = seat  # type: ignore[attr-defined]  # CustomerRequest declares it
    return seat


def choose(request: HttpRequest, *, customer_id: int) -> None:
    """Works from another of the user's seats from now on; raises PermissionDenied without a seat there."""
    assert request.user.is_authenticated
    if not Membership.objects.filter(user=request.user, customer_id=customer_id).exists():
        raise PermissionDenied
    request.session[CHOSEN] = customer_id


def customer_required[**P](view: View[CustomerRequest, P]) -> View[HttpRequest, P]:
    """Lets members in, with `request.membership` and `request.customer`; sends everybody else where they belong."""

    @wraps(view)
    def door(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        if not request.user.is_authenticated:
            return redirect_to_login(request.get_full_path())
        seat = membership_of(request)
        if seat is None:
            return redirect(staff_home(request.user) if request.user.is_staff else "open_account")
        request.customer = seat.customer  # type: ignore[attr-defined]  # CustomerRequest declares it
        return view(request, *args, **kwargs)  # type: ignore[arg-type]  # membership_of made it one

    _mark(door, "customer")
    return door


def owner_required[**P](view: View[CustomerRequest, P]) -> View[HttpRequest, P]:
    """Lets owners in; other members get 403."""

    @wraps(view)
    def owned(request: CustomerRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        if request.membership.role != Membership.Role.OWNER:
            raise PermissionDenied
        return view(request, *args, **kwargs)

    return customer_required(owned)


def staff_required[**P](right: str) -> Callable[[View[StaffRequest, P]], View[HttpRequest, P]]:
    """`@staff_required("refunds.ask")`: lets staff with this right in, a name in accounts/roles.py.

    Everybody else gets 403, and staff without a second factor are sent to set it up.
    """
    assert right in roles.MATRIX, f"{right} stands in no line of the table of rights"

    def guarded(view: View[StaffRequest, P]) -> View[HttpRequest, P]:
        @wraps(view)
        def door(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            turned_away = staff_door(request, right)
            if turned_away is not None:
                return turned_away
            return view(request, *args, **kwargs)  # type: ignore[arg-type]  # staff_door looked

        _mark(door, right)
        return door

    return guarded


def lacks_second_factor(user: User) -> bool:
    return settings.STAFF_MFA_REQUIRED and not is_mfa_enabled(user)


def staff_door(request: HttpRequest, right: str) -> HttpResponse | None:
    """None when staff may enter, otherwise where to go first; raises PermissionDenied without the right."""
    if not request.user.is_authenticated:
        return redirect_to_login(request.get_full_path())
    if not request.user.is_staff:
        raise PermissionDenied
    if lacks_second_factor(request.user):
        messages.warning(request, "Staff pages need a second factor. Set up an authenticator app first.")
        return redirect("mfa_activate_totp")
    need(request.user, right)
    return None


def need(user: User, right: str) -> None:
    """Raises PermissionDenied without the right, for what depends on more than the page."""
    if not user.has_perm(right):
        raise PermissionDenied(right)


def staff_home(user: User) -> str:
    """The name of the first page that a member of staff may open."""
    return next((page for right, page in HOMES if user.has_perm(right)), "settings")


def _mark(door: Callable[..., HttpResponseBase], guard: str) -> None:
    """Says on the door who may pass, `customer` or a right, so that a door without a guard can be found."""
    door.guard = guard  # type: ignore[attr-defined]  # read by whoever lists the doors
