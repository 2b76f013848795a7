"""Letters about an account, to its owners or to staff: rows written with the facts they tell, sent by the clock."""

from dataclasses import asdict
from urllib.parse import urlsplit

from django.conf import settings

from accounts import mail, outbox
from accounts.mail import Letter
from accounts.models import Customer, Membership, Notice, User


def write(customer: Customer, *, reference: str, letter: Letter) -> None:
    """One letter for each owner, inside the transaction of the fact; the same reference again changes nothing."""
    owners = Membership.objects.filter(customer=customer, role=Membership.Role.OWNER, user__is_active=True)
    _write(customer, reference, letter, list(owners.values_list("user__email", flat=True)))


def write_to_staff(customer: Customer, *, right: str, reference: str, letter: Letter) -> None:
    """One letter about this account for each member of staff who holds the right, in the same way."""
    staff = User.objects.filter(is_active=True, is_staff=True).order_by("id")
    addresses = [person.email for person in staff if person.has_perm(right)]
    _write(customer, f"staff:{reference}", letter, addresses)


def write_to(customer: Customer, *, reference: str, letter: Letter, to: str) -> None:
    """One letter about this account to an address that need not belong to it."""
    _write(customer, reference, letter, [to])


def send_waiting(*, limit: int = 100) -> int:
    """Sends what waits and returns how many went out."""
    return outbox.send_waiting(Notice.objects.all(), _send, limit=limit)


def letter_of(notice: Notice) -> Letter:
    words = notice.letter
    action = words["action"]
    return Letter(
        subject=words["subject"],
        paragraphs=words["paragraphs"],
        action=(action[0], action[1]) if action else None,
        small=words["small"],
        why=words["why"],
    )


def whom_to_ask(customer: Customer) -> list[str]:
    """The line that says where to write, when the operator has such an address."""
    if not settings.SELLER_EMAIL:
        return []
    return [f"Questions? Write to {settings.SELLER_EMAIL} and name account {customer.pk}."]


def _write(customer: Customer, reference: str, letter: Letter, addresses: list[str]) -> None:
    words = {**asdict(letter), "action": list(letter.action) if letter.action else None}
    Notice.objects.bulk_create(
        [Notice(customer=customer, reference=reference[:200], to=to, letter=words) for to in addresses],
        ignore_conflicts=True,
    )


def _send(notice: Notice) -> None:
    host = urlsplit(settings.WEB_URL).hostname or "localhost"
    mail.send(letter_of(notice), to=notice.to, message_id=f"<notice-{notice.pk}@{host}>")
