"""The terms of service: who accepted which version, when and from where."""

from django.conf import settings
from django.http import HttpRequest

from accounts import origin
from accounts.models import TermsAcceptance, User

_LONGEST_AGENT = 300


def accept(request: HttpRequest, user: User) -> TermsAcceptance | None:
    """Keeps that the user accepted the version in force; None when no terms are set up."""
    if not settings.TERMS_VERSION:
        return None
    return TermsAcceptance.objects.create(
        user=user,
        version=settings.TERMS_VERSION,
        address=origin.address_of(request),
        user_agent=request.headers.get("User-Agent", "")[:_LONGEST_AGENT],
    )


def are_due(user: User) -> bool:
    """Whether the user has to be asked again: an earlier version was accepted, the one in force was not."""
    accepted = set(TermsAcceptance.objects.filter(user=user).values_list("version", flat=True))
    return bool(accepted) and bool(settings.TERMS_VERSION) and settings.TERMS_VERSION not in accepted
