"""The pages about people: settings, the choice of an account, and the one that opens an account."""

from allauth.account.models import EmailAddress
from allauth.mfa.utils import is_mfa_enabled
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from accounts import access, customers, members
from accounts.access import CustomerRequest
from accounts.forms import AccountForm, InviteForm, ProfileForm
from accounts.models import Invitation, Membership, User


def _settings_page(
    request: HttpRequest,
    user: User,
    *,
    profile: ProfileForm | None = None,
    account: AccountForm | None = None,
    invite: InviteForm | None = None,
) -> HttpResponse:
    seat = access.membership_of(request)
    is_owner = seat is not None and seat.role == Membership.Role.OWNER
    people = list(seat.customer.memberships.select_related("user").order_by("created_at", "id")) if seat else []
    asked = request.GET.get("remove", "")
    context = {
        "profile": profile or ProfileForm(initial={"name": user.name}),
        "account": account or AccountForm(initial={"company": seat.customer.name if seat else ""}),
        "seat": seat,
        "is_owner": is_owner,
        "members": people,
        "owners": sum(each.role == Membership.Role.OWNER for each in people),
        "invite": invite or InviteForm(),
        "invited": members.open_at(seat.customer) if seat else [],
        "removing": next((each for each in people if is_owner and str(each.pk) == asked), None),
        "invitations": members.waiting_for(user),
        "mfa": is_mfa_enabled(user),
        "address_to_confirm": EmailAddress.objects.filter(user=user, verified=False).first(),
    }
    return render(request, "accounts/settings.html", context, status=422 if profile or account or invite else 200)


@login_required
def settings_page(request: HttpRequest) -> HttpResponse:
    assert isinstance(request.user, User)
    return _settings_page(request, request.user)


@require_POST
@login_required
def save_profile(request: HttpRequest) -> HttpResponse:
    assert isinstance(request.user, User)
    form = ProfileForm(request.POST)
    if not form.is_valid():
        return _settings_page(request, request.user, profile=form)
    User.objects.filter(pk=request.user.pk).update(name=form.cleaned_data["name"])
    messages.success(request, "Profile saved")
    return redirect("settings")


@require_POST
@access.owner_required
def save_account(request: CustomerRequest) -> HttpResponse:
    form = AccountForm(request.POST)
    if not form.is_valid():
        return _settings_page(request, request.user, account=form)
    customers.rename(request.customer, user=request.user, name=form.cleaned_data["company"])
    messages.success(request, "Account saved")
    return redirect("settings")


@require_POST
@access.owner_required
def invite_member(request: CustomerRequest) -> HttpResponse:
    form = InviteForm(request.POST)
    if form.is_valid():
        try:
            members.invite(request.customer, user=request.user, **form.cleaned_data)
        except members.HasSeat:
            form.add_error("email", "Whoever has this address belongs to the account already.")
        except members.TooManyInvitations:
            form.add_error("email", f"{members.MOST_A_DAY} invitations a day are the most. Go on tomorrow.")
        else:
            messages.success(request, "Invitation sent")
            return redirect("settings")
    return _settings_page(request, request.user, invite=form)


@require_POST
@access.owner_required
def withdraw_invitation(request: CustomerRequest, invitation_id: int) -> HttpResponse:
    invitation = get_object_or_404(Invitation, pk=invitation_id, customer=request.customer)
    if members.withdraw(invitation, user=request.user):
        messages.success(request, "Invitation withdrawn")
    return redirect("settings")


@require_POST
@login_required
def accept_invitation(request: HttpRequest, invitation_id: int) -> HttpResponse:
    """Takes the seat and works from it; an invitation that has ended, or is not theirs, changes nothing."""
    assert isinstance(request.user, User)
    seat = members.accept(invitation_id, user=request.user)
    if seat is None:
        messages.warning(request, "This invitation has ended. Ask for a new one.")
        return redirect("settings")
    access.choose(request, customer_id=seat.customer_id)
    messages.success(request, f"You belong to {seat.customer.name} now")
    return redirect("overview")


@require_POST
@access.owner_required
def remove_member(request: CustomerRequest, membership_id: int) -> HttpResponse:
    found = Membership.objects.select_related("user", "customer")
    seat = get_object_or_404(found, pk=membership_id, customer=request.customer)
    try:
        if members.remove(seat, user=request.user):
            messages.success(request, f"{seat.user.get_full_name()} was removed")
    except members.LastOwner:
        messages.warning(request, "An account keeps an owner. Make somebody else one first.")
    return redirect("settings")


@require_POST
@login_required
def choose_customer(request: HttpRequest, customer_id: int) -> HttpResponse:
    access.choose(request, customer_id=customer_id)
    return redirect("overview")


@require_http_methods(["GET", "POST"])
@login_required
def open_account(request: HttpRequest) -> HttpResponse:
    """For a user without a seat: names the account that will pay."""
    assert isinstance(request.user, User)
    if access.membership_of(request):
        return redirect("overview")
    form = AccountForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        customers.open_first_for(request.user, name=form.cleaned_data["company"])
        return redirect("overview")
    context = {"form": form, "invitations": members.waiting_for(request.user)}
    return render(request, "accounts/open_account.html", context, status=422 if form.errors else 200)
