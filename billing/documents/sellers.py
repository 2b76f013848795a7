"""Who sells: the legal entity that the settings name, as a row that series of numbers hang on."""

from django.conf import settings

from accounts import audit
from billing.models import LegalEntity


def current() -> LegalEntity:
    """The entity as it is known; written down on first need, by whichever service needs it first."""
    known = LegalEntity.objects.filter(code=settings.SELLER_CODE).first()
    if known:
        return known
    LegalEntity.objects.bulk_create([LegalEntity(code=settings.SELLER_CODE, **_told())], ignore_conflicts=True)
    return LegalEntity.objects.get(code=settings.SELLER_CODE)


def follow_settings() -> None:
    """Takes over what the settings say now. Documents issued before keep what they say."""
    entity = current()
    told = _told()
    before = {name: getattr(entity, name) for name in told}
    if before != told and LegalEntity.objects.filter(pk=entity.pk, **before).update(**told):
        audit.write(
            "legal_entity.changed", subject=f"legal_entity:{entity.code}", actor=None, before=before, after=told
        )


def _told() -> dict[str, object]:
    return {
        "name": settings.SELLER_NAME,
        "address": [line.strip() for line in settings.SELLER_ADDRESS.split(";") if line.strip()],
        "country": settings.SELLER_COUNTRY,
        "tax_id": settings.SELLER_TAX_ID,
        "email": settings.SELLER_EMAIL,
    }
