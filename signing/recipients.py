"""The operator's rules about recipients: writing one and lifting it, each with an entry in the audit log."""

import re
from collections.abc import Iterable

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from accounts import audit
from accounts.models import User
from signing.models import RecipientRule

ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)


class AlreadyRuled(Exception):
    """The same rule for this address stands."""


def rule(
    *, address: str, standing: str, reason: str, user: User | None, label: str = "", reference: str = ""
) -> RecipientRule:
    """Every signer obeys it within two seconds. Raises AlreadyRuled, changing nothing."""
    try:
        with transaction.atomic():
            row = RecipientRule.objects.create(
                address=address.lower(),
                standing=standing,
                reason=reason,
                label=label,
                reference=reference,
                set_by=user,
            )
            audit.write(
                "recipient.ruled",
                subject=f"recipient:{row.address}",
                actor=user,
                after={"standing": standing, "reason": reason, "label": label, "reference": reference},
            )
    except IntegrityError as error:
        raise AlreadyRuled from error
    return row


def lift(row: RecipientRule, *, reason: str, user: User) -> bool:
    """False when somebody was first."""
    with transaction.atomic():
        lifted = RecipientRule.objects.filter(pk=row.pk, lifted_at=None).update(
            lifted_at=Now(), lifted_by=user, lift_reason=reason
        )
        if lifted:
            audit.write(
                "recipient.rule_lifted",
                subject=f"recipient:{row.address}",
                actor=user,
                before={"standing": row.standing, "reason": row.reason},
                after={"reason": reason},
            )
    return lifted == 1


def standing() -> QuerySet[RecipientRule]:
    """The rules in force, the newest first."""
    return RecipientRule.objects.filter(lifted_at=None).select_related("set_by").order_by("-set_at", "-id")


def stands(address: str, standing: str) -> bool:
    """Whether this very rule is in force."""
    return RecipientRule.objects.filter(address=address.lower(), standing=standing, lifted_at=None).exists()


def lifted(*, limit: int) -> QuerySet[RecipientRule]:
    """The rules that are no longer in force, the last lifted first."""
    found = RecipientRule.objects.exclude(lifted_at=None).select_related("set_by", "lifted_by")
    return found.order_by("-lifted_at", "-id")[:limit]


def addresses(text: str) -> tuple[list[str], list[str]]:
    """The addresses of a list, one a line, lower-case and each once; and the lines that hold none.

    What follows an address after a blank, comma or semicolon is passed over, empty lines and `#` remarks too.
    """
    found: dict[str, None] = {}
    strange: list[str] = []
    for line in text.splitlines():
        word = re.split(r"[\s,;#]", line.strip(), maxsplit=1)[0].strip("\"'")
        if ADDRESS.fullmatch(word):
            found[word.lower()] = None
        elif word:
            strange.append(line.strip())
    return list(found), strange


def sanction(listed: Iterable[str], *, source: str, withdraw: bool) -> tuple[int, int]:
    """Sanctions every address that this list did not sanction yet; with `withdraw` also lifts those of it that
    left it. Other lists are left alone. Returns how many were added and lifted; all of it or nothing."""
    wanted = set(listed)
    reference = f"list:{source}"
    with transaction.atomic():
        sanctioned = RecipientRule.objects.filter(
            standing=RecipientRule.Standing.SANCTIONED, reference=reference, lifted_at=None
        )
        known = set(sanctioned.values_list("address", flat=True))
        added = sorted(wanted - known)
        RecipientRule.objects.bulk_create(
            RecipientRule(
                address=address,
                standing=RecipientRule.Standing.SANCTIONED,
                reason=f"On the list {source}",
                reference=reference,
            )
            for address in added
        )
        gone = sanctioned.exclude(address__in=wanted) if withdraw else sanctioned.none()
        lifted = gone.update(lifted_at=Now(), lift_reason=f"No longer on the list {source}")
        if added or lifted:
            audit.write(
                "recipient.sanctions_imported",
                subject=reference,
                actor=None,
                after={"added": len(added), "lifted": lifted, "listed": len(wanted)},
            )
    return len(added), lifted
