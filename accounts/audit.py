"""The only writer of the audit log; called inside the transaction of what it records."""

from collections.abc import Mapping

from accounts.models import AuditEntry, Customer, User


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
