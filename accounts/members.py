"""Who shares an account: owners invite an address, its owner accepts, owners take seats away."""

from datetime import timedelta

from allauth.account.models import EmailAddress
from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone

from accounts import audit, notices
from accounts.mail import Letter
from accounts.models import Customer, Invitation, Membership, User

LASTS = timedelta(days=7)
# Each sends a mail with words of the customer's to an address of the customer's choice.
MOST_A_DAY = 20


class HasSeat(Exception):
    """Whoever has this address belongs to the account already."""


class TooManyInvitations(Exception):
    """MOST_A_DAY were written within a day."""


class LastOwner(Exception):
    """An account keeps an owner."""


def invite(customer: Customer, *, user: User, email: str, role: str) -> Invitation:
    """Asks the address to take a seat, by mail; an open invitation of the same address gives way to this one.

    Raises HasSeat, TooManyInvitations. Whether somebody uses the address here is not told.
    """
    email = email.strip().lower()
    now = timezone.now()
    with transaction.atomic(durable=True):
        _lock(customer)
        if customer.memberships.filter(user__email__iexact=email).exists():
            raise HasSeat
        if customer.invitations.filter(invited_at__gt=now - timedelta(days=1)).count() >= MOST_A_DAY:
            raise TooManyInvitations
        customer.invitations.filter(email=email, accepted_at=None, withdrawn_at=None).update(withdrawn_at=now)
        made = Invitation.objects.create(
            customer=customer, email=email, role=role, invited_by=user, expires_at=now + LASTS
        )
        _note("member.invited", made, user, after={"email": email, "role": role})
        notices.write_to(
            customer, reference=f"invitation:{made.pk}", letter=_letter(made, customer=customer, user=user), to=email
        )
    return made


def withdraw(invitation: Invitation, *, user: User) -> bool:
    """False when it was accepted or withdrawn before."""
    with transaction.atomic(durable=True):
        open_row = Invitation.objects.filter(pk=invitation.pk, accepted_at=None, withdrawn_at=None)
        if open_row.update(withdrawn_at=timezone.now()) != 1:
            return False
        _note("member.uninvited", invitation, user, before={"email": invitation.email})
    return True


def open_at(customer: Customer) -> QuerySet[Invitation]:
    """What the account still waits for."""
    return _open().filter(customer=customer).order_by("invited_at", "id")


def waiting_for(user: User) -> QuerySet[Invitation]:
    """Invitations to an address that the user has proved to have."""
    proved = EmailAddress.objects.filter(user=user, verified=True).values_list("email", flat=True)
    return (
        _open()
        .filter(email__in=[address.lower() for address in proved])
        .select_related("customer", "invited_by")
        .order_by("invited_at", "id")
    )


def is_invited(email: str) -> bool:
    return _open().filter(email=email.strip().lower()).exists()


def accept(invitation_id: int, *, user: User) -> Membership | None:
    """The seat, also when asked twice; None when the invitation is not for this user, or has ended."""
    with transaction.atomic(durable=True):
        invitation = waiting_for(user).filter(pk=invitation_id).first()
        if invitation is None:
            return _taken(invitation_id, user)
        _lock(invitation.customer)
        if _open().filter(pk=invitation_id).update(accepted_at=timezone.now(), accepted_by=user) != 1:
            return _taken(invitation_id, user)
        seat, _ = Membership.objects.get_or_create(
            customer=invitation.customer, user=user, defaults={"role": invitation.role}
        )
        _note("member.joined", invitation, user, after={"email": invitation.email, "role": seat.role})
    return seat


def remove(seat: Membership, *, user: User) -> bool:
    """Takes a seat away, from open sessions too, and ends what its owner invited; False when it was gone.

    Raises LastOwner.
    """
    with transaction.atomic(durable=True):
        _lock(seat.customer)
        owners = seat.customer.memberships.filter(role=Membership.Role.OWNER)
        if seat.role == Membership.Role.OWNER and not owners.exclude(pk=seat.pk).exists():
            raise LastOwner
        if not Membership.objects.filter(pk=seat.pk).delete()[0]:
            return False
        audit.write(
            "member.removed",
            subject=f"user:{seat.user_id}",
            actor=user,
            customer=seat.customer,
            before={"email": seat.user.email, "role": seat.role},
        )
    return True


def _open() -> QuerySet[Invitation]:
    """Those of owners alone: whoever was removed must not come back by an address that he invited before."""
    own = Membership.objects.filter(
        customer=OuterRef("customer"), user=OuterRef("invited_by"), role=Membership.Role.OWNER
    )
    waiting = Invitation.objects.filter(accepted_at=None, withdrawn_at=None, expires_at__gt=timezone.now())
    return waiting.filter(Exists(own))


def _lock(customer: Customer) -> None:
    """One change of an account's people at a time, so that two cannot take away the last owners."""
    Customer.objects.select_for_update(no_key=True).get(pk=customer.pk)


def _taken(invitation_id: int, user: User) -> Membership | None:
    """The seat that this user has by an invitation accepted before."""
    seats = Membership.objects.select_related("customer").filter(user=user)
    return seats.filter(customer__invitations__pk=invitation_id, customer__invitations__accepted_by=user).first()


def _note(
    action: str,
    invitation: Invitation,
    user: User,
    *,
    before: dict[str, object] | None = None,
    after: dict[str, object] | None = None,
) -> None:
    subject = f"invitation:{invitation.pk}"
    audit.write(action, subject=subject, actor=user, customer=invitation.customer, before=before, after=after)


def _letter(invitation: Invitation, *, customer: Customer, user: User) -> Letter:
    return Letter(
        subject=f"You are invited to {' '.join(customer.name.split())}",
        paragraphs=[
            f"{user.get_full_name()} wants to share the account {customer.name} with you, as "
            f"{'an owner' if invitation.role == Membership.Role.OWNER else 'a member'}.",
            f"Sign in with {invitation.email}, or create an account with this address, and accept within "
            f"{LASTS.days} days.",
        ],
        action=("Look at the invitation", f"{settings.WEB_URL}/settings/"),
        why=f"because {user.email} typed this address. If you know nobody there, do nothing.",
    )
