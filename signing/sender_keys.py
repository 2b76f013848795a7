"""Which sender keys there are, which takes new customers, and who pays by which; the keys themselves are elsewhere."""

from collections.abc import Mapping
from dataclasses import dataclass

from django.conf import settings
from django.db import transaction
from django.db.models import Count
from django.db.models.functions import Now

from accounts import audit
from accounts.models import Customer
from signing.models import ChainCursor, SenderKey, SenderPin


class UnknownSender(ValueError):
    """No key with this address is registered."""

    def __init__(self, address: str) -> None:
        super().__init__(f"{address} is no registered sender key; `sender_key list` shows them.")


class LastActiveSender(ValueError):
    """Somebody must take the new customers."""

    def __init__(self) -> None:
        super().__init__("It is the only active key: rotate to another one first.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Listed:
    """A registered key as the list shows it."""

    key: SenderKey
    customers: int
    takes_new: bool


def ours() -> list[str]:
    """Every address that ever signed or may sign for us, lower-case: the configured one first, then by age."""
    configured = settings.SENDER_ADDRESS.lower()
    registered = SenderKey.objects.order_by("created_at", "pk").values_list("address", flat=True)
    return list(dict.fromkeys(address for address in (configured, *registered) if address))


def followed(chain_id: int) -> list[str]:
    """Ours on one chain, and those whose books were opened there: what is in the books is followed for good."""
    opened = ChainCursor.objects.filter(name__startswith=f"booked:{chain_id}:").order_by("name")
    return list(dict.fromkeys([*ours(), *(name.rpartition(":")[2] for name in opened.values_list("name", flat=True))]))


def register(address: str, *, label: str = "") -> SenderKey:
    """Writes a key down. It takes no customers before it is activated, unless it is the first or the configured one.

    A second time changes nothing.
    """
    with transaction.atomic():
        configured = settings.SENDER_ADDRESS.lower()
        if configured and configured != address.lower():
            # From now on the rows decide; what decided so far goes on until somebody rotates.
            SenderKey.objects.get_or_create(
                address=configured, defaults={"label": "SENDER_ADDRESS", "active": True, "activated_at": Now()}
            )
        is_first = not SenderKey.objects.exists() or configured == address.lower()
        given = {"label": label, "active": is_first, "activated_at": Now() if is_first else None}
        key, is_new = SenderKey.objects.get_or_create(address=address.lower(), defaults=given)
        if is_new:
            _note("registered", key.address, after={"label": label, "active": is_first})
    key.refresh_from_db()
    return key


def rotate_to(address: str) -> SenderKey:
    """New customers pay from this address from now on; the others stay where they are. Raises UnknownSender."""
    with transaction.atomic():
        if not SenderKey.objects.filter(address=address.lower()).update(active=True, activated_at=Now()):
            raise UnknownSender(address)
        _note("rotated_to", address.lower())
    return SenderKey.objects.get(address=address.lower())


def retire(address: str) -> SenderKey:
    """No new customers for this key; it goes on signing for its own. Raises UnknownSender, LastActiveSender."""
    with transaction.atomic():
        active = {key.address for key in SenderKey.objects.select_for_update().filter(active=True)}
        if active == {address.lower()}:
            raise LastActiveSender
        if not SenderKey.objects.filter(address=address.lower()).update(active=False):
            raise UnknownSender(address)
        _note("retired", address.lower())
    return SenderKey.objects.get(address=address.lower())


def move(customer: Customer, *, to: str) -> bool:
    """The customer pays from another address; False where it did already. Raises UnknownSender.

    Each signer knows within a second. Sessions opened under the old key then end with 400 `sender_changed`, because
    their offers were made for the old address: the customer's clients must start again.
    """
    target = to.lower()
    if not SenderKey.objects.filter(address=target).exists():
        raise UnknownSender(to)
    with transaction.atomic():
        Customer.objects.select_for_update().get(pk=customer.pk)
        pin = SenderPin.objects.filter(customer=customer).first()
        if pin is not None and pin.address == target:
            return False
        SenderPin.objects.update_or_create(customer=customer, defaults={"address": target, "pinned_at": Now()})
        before = {"sender": pin.address} if pin else {}
        _note("customer_moved", target, customer, before=before, after={"sender": target})
    return True


def move_all(*, origin: str, to: str) -> int:
    """Everybody who pays from one address; how many were moved. Raises UnknownSender."""
    customers = Customer.objects.filter(sender_pin__address=origin.lower()).order_by("pk")
    return sum(move(customer, to=to) for customer in customers)


def listed() -> list[Listed]:
    """Every registered key, the newest first."""
    counted = SenderPin.objects.values_list("address").annotate(customers=Count("pk"))
    customers: dict[str, int] = dict(counted)
    keys = list(SenderKey.objects.order_by("-created_at", "-pk"))
    newest = max((key for key in keys if key.active), key=lambda key: (key.activated_at, key.pk), default=None)
    return [Listed(key=key, customers=customers.get(key.address, 0), takes_new=key is newest) for key in keys]


def _note(
    action: str,
    address: str,
    customer: Customer | None = None,
    *,
    before: Mapping[str, object] | None = None,
    after: Mapping[str, object] | None = None,
) -> None:
    """These things are done at a terminal, by somebody the database does not know."""
    subject = f"sender_key:{address}"
    audit.write(f"sender_key.{action}", subject=subject, actor=None, customer=customer, before=before, after=after)
