"""The life of an API key: created, renamed, revoked; each with an entry in the audit log."""

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from accounts import api_keys, audit
from accounts.api_keys import IssuedKey
from accounts.models import ApiKey, AuditEntry, Customer, User

MOST_ACTIVE_KEYS = 100


class NameTaken(Exception):
    """Another active key of the customer has this name."""


class TooManyKeys(Exception):
    """The customer has MOST_ACTIVE_KEYS active keys already."""


class KeyIsRevoked(Exception):
    """The key was revoked before; a revoked key cannot change any more."""


def create(*, customer: Customer, user: User, name: str) -> tuple[ApiKey, IssuedKey]:
    """A new active key and, this once, its text; raises NameTaken, TooManyKeys."""
    issued = api_keys.issue()
    with transaction.atomic(durable=True):
        active = _locked_active_keys(customer)
        if active.filter(name=name).exists():
            raise NameTaken
        if active.count() >= MOST_ACTIVE_KEYS:
            raise TooManyKeys
        key = ApiKey.objects.create(
            customer=customer,
            name=name,
            prefix=issued.prefix,
            secret_sha256=issued.secret_sha256,
            created_by=user,
        )
        _note(key, user, "api_key.created", after={"name": name, "prefix": issued.prefix})
    return key, issued


def rename(key: ApiKey, *, user: User, name: str) -> None:
    """Raises NameTaken, KeyIsRevoked; the same name again changes nothing."""
    with transaction.atomic(durable=True):
        active = _locked_active_keys(key.customer)
        if active.filter(name=name).exclude(pk=key.pk).exists():
            raise NameTaken
        before = active.filter(pk=key.pk).values_list("name", flat=True).first()
        if before is None:
            raise KeyIsRevoked
        if before != name:
            active.filter(pk=key.pk).update(name=name)
            _note(key, user, "api_key.renamed", before={"name": before}, after={"name": name})


def revoke(key: ApiKey, *, user: User) -> bool:
    """Ends the key for good; False when somebody was first."""
    with transaction.atomic(durable=True):
        revoked = ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=Now(), revoked_by=user)
        if revoked:
            _note(key, user, "api_key.revoked", before={"name": key.name, "prefix": key.prefix})
    return revoked == 1


def recent_changes(customer: Customer, *, limit: int = 5) -> QuerySet[AuditEntry]:
    entries = AuditEntry.objects.filter(customer=customer, action__startswith="api_key.")
    return entries.select_related("actor").order_by("-at", "-id")[:limit]


def _locked_active_keys(customer: Customer) -> QuerySet[ApiKey]:
    """The customer's active keys; its row is locked so that two requests count one after the other."""
    Customer.objects.select_for_update(no_key=True).get(pk=customer.pk)
    return ApiKey.objects.filter(customer=customer, revoked_at=None)


def _note(
    key: ApiKey,
    user: User,
    action: str,
    *,
    before: dict[str, str] | None = None,
    after: dict[str, str] | None = None,
) -> None:
    audit.write(action, subject=f"api_key:{key.pk}", actor=user, customer=key.customer, before=before, after=after)
