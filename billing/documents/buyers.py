"""Who buys, as a document names it: the customer's billing profile of that moment, or just its name."""

from collections.abc import Mapping

from accounts.models import Customer
from billing import countries
from billing.documents.snapshot import Party, moment
from billing.models import BillingProfile, TaxIdKind, TaxIdState


def of(customer: Customer, location: Mapping[str, str] | None = None) -> Party:
    """`location` is the evidence of where the customer is, kept with what the document says of it."""
    profile = BillingProfile.objects.filter(customer=customer).first()
    account = f"{customer.pk:06d}"
    if profile is None:
        return Party(name=customer.name, details={"account": account, "location": dict(location or {})})
    city = " ".join(part for part in (profile.postal_code, profile.city) if part)
    lines = [profile.line1, profile.line2, f"{city}, {profile.region}" if profile.region else city]
    kind = TaxIdKind(profile.tax_id_kind).label if profile.tax_id_kind else ""
    return Party(
        name=profile.legal_name,
        address=[line for line in lines if line],
        country=profile.country,
        tax_ids=[(kind, profile.tax_id)] if profile.tax_id else [],
        email=profile.invoice_email,
        details={
            "account": account,
            "country_name": countries.name(profile.country),
            "region": profile.region,
            "location": dict(location or {}),
            "tax_id_check": _check(profile),
        },
    )


def purchase_order(customer: Customer) -> str:
    profile = BillingProfile.objects.filter(customer=customer).first()
    return profile.po_number if profile else ""


def mail_address(customer: Customer) -> str:
    """Where the customer wants documents; empty when it did not say."""
    profile = BillingProfile.objects.filter(customer=customer).first()
    return profile.invoice_email if profile else ""


def _check(profile: BillingProfile) -> dict[str, str]:
    """What was known of the tax id at this moment; empty when none counts."""
    if profile.tax_id_state == TaxIdState.NONE:
        return {}
    return {
        "state": profile.tax_id_state,
        "source": profile.tax_id_source,
        "checked_at": moment(profile.tax_id_checked_at) if profile.tax_id_checked_at else "",
        "consultation_number": profile.consultation_number,
    }
