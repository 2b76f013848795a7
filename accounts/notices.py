"""Letters to the owners of an account: rows written with the facts that they tell, sent by the clock."""

import logging
from collections.abc import Iterator
from dataclasses import asdict
from smtplib import SMTPException
from urllib.parse import urlsplit

from django.conf import settings
from django.db import connection
from django.utils import timezone

from accounts import mail
from accounts.mail import Letter
from accounts.models import Customer, Membership, Notice

log = logging.getLogger(__name__)

_MOST_TRIES = 8


def write(customer: Customer, *, reference: str, letter: Letter) -> None:
    """One letter for each owner, inside the transaction of the fact; the same reference again changes nothing."""
    owners = Membership.objects.filter(customer=customer, role=Membership.Role.OWNER, user__is_active=True)
    words = {**asdict(letter), "action": list(letter.action) if letter.action else None}
    Notice.objects.bulk_create(
        [
            Notice(customer=customer, reference=reference[:200], to=address, letter=words)
            for address in owners.values_list("user__email", flat=True)
        ],
        ignore_conflicts=True,
    )


def send_waiting(*, limit: int = 100) -> int:
    """Sends what waits and returns how many went out.

    A worker that dies between the mail server's yes and our note of it sends once more, under the same Message-ID,
    so that a mailbox shows it once. One that is refused waits longer each time and is given up after eight tries.
    """
    sent = 0
    for notice_id in _claims(limit):
        notice = Notice.objects.get(pk=notice_id)
        try:
            mail.send(letter_of(notice), to=notice.to, message_id=_message_id(notice))
        except (SMTPException, OSError) as error:
            log.warning("notice %s is sent later: %s", notice.reference, type(error).__name__)
            Notice.objects.filter(pk=notice.pk).update(error=type(error).__name__)
        else:
            Notice.objects.filter(pk=notice.pk, sent_at=None).update(sent_at=timezone.now(), error="")
            sent += 1
    return sent


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


def _message_id(notice: Notice) -> str:
    return f"<notice-{notice.pk}@{urlsplit(settings.WEB_URL).hostname or 'localhost'}>"


def _claims(limit: int) -> Iterator[int]:
    """One letter after the other, each taken by one worker only."""
    for _ in range(limit):
        with connection.cursor() as cursor:
            cursor.execute(
                """
                UPDATE accounts_notice SET
                    attempts = attempts + 1,
                    not_before = clock_timestamp() + interval '1 minute' * 4 ^ least(attempts, 5)
                WHERE id = (
                    SELECT id FROM accounts_notice
                    WHERE sent_at IS NULL AND attempts < %s AND not_before <= clock_timestamp()
                    ORDER BY not_before LIMIT 1 FOR UPDATE SKIP LOCKED
                ) RETURNING id
                """,
                [_MOST_TRIES],
            )
            row = cursor.fetchone()
        if row is None:
            return
        yield row[0]
