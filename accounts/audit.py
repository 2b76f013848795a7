"""The only writer of the audit log; called inside the transaction of what it records."""

import json
from collections.abc import Mapping

from django.db import DatabaseError, connection

from accounts.models import AuditEntry, Customer, User

_WAIT = "2s"


def write(
    action: str,
    *,
    subject: str,
    actor: User | None,
    customer: Customer | None = None,
    before: Mapping[str, object] | None = None,
    after: Mapping[str, object] | None = None,
) -> None:
    """`action` such as `api_key.revoked`, `subject` such as `api_key:7`; never secrets in before or after."""
    AuditEntry.objects.create(
        action=action,
        subject=subject,
        actor=actor,
        customer=customer,
        before=dict(before or {}),
        after=dict(after or {}),
    )


def write_for_good(
    action: str,
    *,
    subject: str,
    actor: User | None,
    customer: Customer | None = None,
    after: Mapping[str, object] | None = None,
) -> None:
    """For an attempt that was refused: the entry stays though the transaction around it is rolled back.

    It is written over a connection of its own. When that cannot see the people named, because they were made in this
    very transaction, or would have to wait for a lock this one holds, the entry shares this transaction's fate.
    """
    if not connection.in_atomic_block:
        write(action, subject=subject, actor=actor, customer=customer, after=after)
        return
    apart = connection.copy()
    try:
        with apart.cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, false)", [_WAIT])
            cursor.execute(
                "INSERT INTO accounts_auditentry (actor_id, customer_id, action, subject, before, after)"
                " VALUES (%s, %s, %s, %s, '{}', %s)",
                [
                    actor.pk if actor else None,
                    customer.pk if customer else None,
                    action,
                    subject,
                    json.dumps(dict(after or {})),
                ],
            )
    except DatabaseError:
        write(action, subject=subject, actor=actor, customer=customer, after=after)
    finally:
        apart.close()
