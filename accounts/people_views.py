"""The staff page about staff: who has which role; asking for one, and taking one away."""

import uuid

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from accounts import approvals, people, roles, second_person
from accounts.access import StaffRequest, staff_required
from accounts.models import Approval, User


class RoleForm(forms.Form):
    """Whom to give which role, and why."""

    email = forms.EmailField(label="Email", widget=forms.EmailInput(attrs={"autocomplete": "off"}))
    role = forms.ChoiceField(label="Role", choices=[(role, role.title()) for role in roles.ROLES])
    reason = forms.CharField(label="Why", max_length=500)
    once = forms.CharField(widget=forms.HiddenInput, required=False, max_length=60, initial=uuid.uuid4)

    def clean_email(self) -> User:
        person = User.objects.filter(email=str(self.cleaned_data["email"]).lower(), is_active=True).first()
        if person is None:
            raise forms.ValidationError("Must be the address of somebody who can sign in; he signs up first.")
        return person


@never_cache
@require_http_methods(["GET", "POST"])
@staff_required("people.see")
def people_page(request: StaffRequest) -> HttpResponse:
    """POST asks for a role; a second person decides."""
    form = RoleForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        payload = people.payload(form.cleaned_data["email"], form.cleaned_data["role"])
        asked = second_person.ask(request, form, kind=people.GIVE, payload=payload)
        if asked:
            messages.success(request, "Asked. A second admin decides")
            return redirect("approval", asked.pk)
    staff = [(person, people.roles_of(person)) for person in people.staff()]
    taking = _taking(request)
    context = {
        "staff": staff,
        "roles": roles.ROLES,
        "form": form,
        "waiting": Approval.objects.filter(kind=people.GIVE, status=Approval.Status.ASKED).count(),
        "taking": taking,
    }
    return render(request, "staff/people.html", context, status=422 if form.errors else 200)


@require_POST
@staff_required("roles.take")
def take_role(request: StaffRequest, user_id: int) -> HttpResponse:
    person = get_object_or_404(User, pk=user_id)
    role = request.POST.get("role", "")
    try:
        taken = people.take(person, role, actor=request.user)
    except approvals.NotPossible as error:
        messages.error(request, str(error))
    else:
        words = f"{person.get_short_name()} is {role} no more" if taken else "The role was gone already"
        messages.success(request, words)
    return redirect("people")


def _taking(request: StaffRequest) -> tuple[User, str] | None:
    """The person and the role that the query asks to take away, to be confirmed."""
    number, role = request.GET.get("take", ""), request.GET.get("role", "")
    person = people.staff().filter(pk=int(number)).first() if number.isdecimal() and len(number) < 18 else None
    return (person, role) if person and role in people.roles_of(person) else None
