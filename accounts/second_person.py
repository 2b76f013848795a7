"""Asking a second person from a page: once however often its form is sent, and what cannot be is said in the form."""

from typing import Any

from django import forms
from django.core.exceptions import PermissionDenied

from accounts import approvals
from accounts.access import StaffRequest
from accounts.models import Approval, Customer


def ask(
    request: StaffRequest, form: forms.Form, *, kind: str, payload: dict[str, Any], customer: Customer | None = None
) -> Approval | None:
    """Asks with the `reason` and the `once` of a valid form; None where it is not possible, with an error in the form.

    Raises PermissionDenied.
    """
    try:
        return approvals.ask(
            kind=kind,
            payload=payload,
            reason=form.cleaned_data["reason"],
            user=request.user,
            customer=customer,
            once=str(form.cleaned_data["once"]),
        )
    except approvals.NotAllowed:
        raise PermissionDenied(approvals.kinds()[kind].ask_permission) from None
    except approvals.NotPossible as error:
        form.add_error(None, str(error))
        return None


def waiting(*names: str) -> list[tuple[Approval, list[tuple[str, str]]]]:
    """Requests of these kinds that nobody has decided on, the oldest first, each with its lines of label and text."""
    rows = Approval.objects.filter(kind__in=names, status=Approval.Status.ASKED)
    return [
        (row, approvals.kinds()[row.kind].describe(row.payload))
        for row in rows.select_related("asked_by").order_by("pk")
    ]
