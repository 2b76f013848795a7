"""Billing profiles: saved by their owner, their tax ids checked by the clock until the register has answered."""

import logging
from collections.abc import Iterator
from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from accounts import audit, claims
from accounts.models import Customer, User
from billing import vat
from billing.models import BillingProfile, TaxIdCheck, TaxIdKind, TaxIdState

log = logging.getLogger(__name__)

FIELDS = (
    *("legal_name", "line1", "line2", "postal_code", "city", "region", "country"),
    *("invoice_email", "po_number", "tax_id_kind", "tax_id"),
)
# A number that was valid once is asked about again after this long.
GOOD_FOR = timedelta(days=90)


def save(customer: Customer, *, user: User, values: dict[str, str]) -> BillingProfile:
    """Takes over the profile, with what changed in the audit log. A changed tax id counts once it was checked."""
    after = {name: values.get(name, "") for name in FIELDS}
    with transaction.atomic(durable=True):
        Customer.objects.select_for_update(no_key=True).get(pk=customer.pk)
        known = BillingProfile.objects.filter(customer=customer).first()
        before = {name: getattr(known, name) for name in FIELDS} if known else dict.fromkeys(FIELDS, "")
        changed = [name for name in FIELDS if before[name] != after[name]]
        if known is None:
            BillingProfile.objects.create(customer=customer, updated_by=user, **after)
        elif changed:
            BillingProfile.objects.filter(customer=customer).update(
                **{name: after[name] for name in changed}, updated_at=timezone.now(), updated_by=user
            )
        if changed:
            audit.write(
                "billing_profile.saved",
                subject=f"customer:{customer.pk}",
                actor=user,
                customer=customer,
                before={name: before[name] for name in changed},
                after={name: after[name] for name in changed},
            )
    return BillingProfile.objects.get(customer=customer)


def check_waiting(*, limit: int = 50) -> int:
    """Asks about tax ids that wait for an answer or were last asked about long ago; returns how many were answered.

    A register that does not answer is asked again after a pause that grows to six hours; a number that was valid
    stays so meanwhile.
    """
    answered = 0
    for customer_id in _claims(limit):
        profile = BillingProfile.objects.get(customer=customer_id)
        tax_id = vat.TaxId(kind=TaxIdKind(profile.tax_id_kind), country=profile.country, number=profile.tax_id)
        try:
            answer = vat.check(tax_id)
        except vat.RegisterUnreachable as error:
            log.warning("the register of %s does not answer: %s", profile.country, error)
            BillingProfile.objects.filter(
                customer=customer_id, tax_id=profile.tax_id, tax_id_state=TaxIdState.PENDING
            ).update(tax_id_state=TaxIdState.UNREACHABLE)
            continue
        answered += _learn(profile, answer)
    return answered


def _learn(profile: BillingProfile, answer: vat.Answer) -> int:
    """Keeps an answer, unless the number was changed while the register thought about it."""
    state = TaxIdState.VALID if answer.valid else TaxIdState.INVALID
    with transaction.atomic(durable=True):
        known = BillingProfile.objects.filter(customer=profile.customer_id, tax_id=profile.tax_id).update(
            tax_id_state=state,
            tax_id_checked_at=answer.at,
            tax_id_source=answer.source,
            consultation_number=answer.consultation_number,
            check_attempts=0,
            check_not_before=answer.at + GOOD_FOR,
        )
        if not known:
            return 0
        TaxIdCheck.objects.create(
            customer_id=profile.customer_id,
            tax_id=profile.tax_id,
            state=state,
            source=answer.source,
            consultation_number=answer.consultation_number,
            name=answer.name,
            address=answer.address,
            at=answer.at,
        )
        if profile.tax_id_state != state:
            audit.write(
                "billing_profile.tax_id_checked",
                subject=f"customer:{profile.customer_id}",
                actor=None,
                customer=Customer.objects.get(pk=profile.customer_id),
                before={"state": profile.tax_id_state},
                after={"state": state, "tax_id": profile.tax_id, "source": answer.source},
            )
    return 1


def _claims(limit: int) -> Iterator[int]:
    """One profile after the other, each taken by one worker only; invalid numbers are not asked about again."""
    return claims.ids(
        """
        UPDATE billing_billingprofile SET
            check_attempts = check_attempts + 1,
            check_not_before = clock_timestamp()
                + least(interval '6 hours', interval '30 seconds' * 2 ^ least(check_attempts, 10))
        WHERE customer_id = (
            SELECT customer_id FROM billing_billingprofile
            WHERE tax_id_state IN ('pending', 'unreachable', 'valid') AND check_not_before <= clock_timestamp()
            ORDER BY check_not_before LIMIT 1 FOR UPDATE SKIP LOCKED
        ) RETURNING customer_id
        """,
        limit,
    )
