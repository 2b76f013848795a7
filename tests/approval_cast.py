"""Who asks and who decides in tests of approvals, and what the audit log keeps of it."""

from collections.abc import Iterator

import pytest
from pytest_django.fixtures import Settings

from accounts import approvals
from accounts.models import Approval, AuditEntry, Customer
from tests import builders

Status = Approval.Status


@pytest.fixture(autouse=True)
def kinds(settings: Settings) -> Iterator[None]:
    settings.APPROVABLE = [*settings.APPROVABLE, "tests.approval_kinds"]
    approvals.kinds.cache_clear()
    yield
    approvals.kinds.cache_clear()


class Cast:
    """Who asks, who decides, and whose name it is about."""

    def __init__(self) -> None:
        self.asker = builders.staff("support")
        self.decider = builders.staff("finance")
        self.customer = builders.customer("Before")

    def ask(self, name: str = "After", *, once: str = "") -> Approval:
        return approvals.ask(
            kind="test.rename",
            payload={"customer": self.customer.pk, "name": name},
            reason="They asked for it",
            user=self.asker,
            customer=self.customer,
            once=once,
        )

    def approved(self, name: str = "After") -> Approval:
        return approvals.decide(self.ask(name).pk, self.decider, approve=True)

    def name(self) -> str:
        return Customer.objects.get(pk=self.customer.pk).name


@pytest.fixture
def cast(db: None) -> Cast:
    return Cast()


def actions() -> list[str]:
    return list(
        AuditEntry.objects.filter(action__startswith="approval.").order_by("id").values_list("action", flat=True)
    )


def refusals() -> list[object]:
    found = AuditEntry.objects.filter(action="approval.refused").order_by("id")
    return [entry.after["why"] for entry in found]
