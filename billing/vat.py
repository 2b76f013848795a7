"""Tax ids: whether one can be right by its check digits, and what the country's register says of it."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import requests
from django.conf import settings
from django.utils import timezone
from stdnum.ch import vat as ch_vat
from stdnum.eu import vat as eu_vat
from stdnum.exceptions import ValidationError
from stdnum.gb import vat as gb_vat
from stdnum.no import mva as no_vat

from billing import countries
from billing.models import TaxIdKind

SECONDS = 10
# The EU writes Greece by its own name.
_PREFIXES = {"GR": "EL"}


class BadTaxId(Exception):
    """A tax id that cannot be right; the text says what would be."""


class RegisterUnreachable(Exception):
    """The register gave no usable answer now; asking again later is right."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TaxId:
    """A number in the form its register wants, with its country's prefix where one belongs to it."""

    kind: TaxIdKind
    country: str
    number: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a register said: `consultation_number` proves the question, name and address only where it tells them."""

    valid: bool
    source: str
    at: datetime
    consultation_number: str = ""
    name: str = ""
    address: str = ""


class Register(Protocol):
    """Somebody who knows which numbers are registered."""

    def ask(self, tax_id: TaxId) -> Answer:
        """Raises RegisterUnreachable."""


def read(text: str, country: str) -> TaxId:
    """The tax id that somebody of `country` typed, checked by its digits. Raises BadTaxId."""
    typed = text.strip()
    if country in countries.EU:
        return TaxId(kind=TaxIdKind.EU_VAT, country=country, number=_eu(typed, country))
    checks: dict[str, tuple[TaxIdKind, Any, str]] = {
        "GB": (TaxIdKind.GB_VAT, gb_vat, "GB980780684"),
        "NO": (TaxIdKind.NO_VAT, no_vat, "995525828MVA"),
        "CH": (TaxIdKind.CH_VAT, ch_vat, "CHE-107.787.577 MWST"),
    }
    if country not in checks:
        return TaxId(kind=TaxIdKind.OTHER, country=country, number=typed)
    kind, check, example = checks[country]
    try:
        number = check.validate(typed)
    except ValidationError:
        raise BadTaxId(f"This number cannot be right. One looks like {example}.") from None
    return TaxId(kind=kind, country=country, number=f"GB{number}" if country == "GB" else number)


def register_for(tax_id: TaxId) -> Register | None:
    """Whom to ask about this number; None when its check digits are all there is to go by."""
    if tax_id.kind == TaxIdKind.EU_VAT and settings.VAT_CHECK_URL:
        return EuRegister(url=settings.VAT_CHECK_URL, requester=settings.SELLER_TAX_ID)
    return None


def check(tax_id: TaxId) -> Answer:
    """What can be known of this number now. Talks to the register where there is one; raises RegisterUnreachable."""
    register = register_for(tax_id)
    if register:
        return register.ask(tax_id)
    return Answer(valid=True, source="check digits", at=timezone.now())


@dataclass(frozen=True, kw_only=True, slots=True)
class EuRegister:
    """The EU's VIES over its JSON API: `POST /check-vat-number`.

    With the seller's own number as `requester` each answer carries a consultation number.
    """

    url: str
    requester: str = ""

    def ask(self, tax_id: TaxId) -> Answer:
        question = {"countryCode": tax_id.number[:2], "vatNumber": tax_id.number[2:]}
        if self.requester:
            question |= {"requesterMemberStateCode": self.requester[:2], "requesterNumber": self.requester[2:]}
        try:
            reply = requests.post(f"{self.url}/check-vat-number", json=question, timeout=SECONDS)
            said = reply.json()
        except (requests.RequestException, ValueError) as error:
            raise RegisterUnreachable(type(error).__name__) from None
        if reply.status_code != 200 or not isinstance(said, dict) or not isinstance(said.get("valid"), bool):
            raise RegisterUnreachable(_trouble(said) or f"status {reply.status_code}")
        return Answer(
            valid=said["valid"],
            source="VIES",
            at=timezone.now(),
            consultation_number=_known(said.get("requestIdentifier"), 80),
            name=_known(said.get("name"), 300),
            address=_known(said.get("address"), 500),
        )


def _eu(typed: str, country: str) -> str:
    """With or without its prefix, and however it is set apart."""
    prefix = _PREFIXES.get(country, country)
    bare = re.sub(r"[\s./-]", "", typed).upper()
    if bare[:2] != prefix and bare[:2].lower() in {*eu_vat.MEMBER_STATES, "el"} and not _right(prefix + bare):
        raise BadTaxId(f"This number belongs to another country than the address. Here it begins with {prefix}.")
    found = _right(bare if bare.startswith(prefix) else prefix + bare)
    if found is None:
        raise BadTaxId(f"This number cannot be right. It begins with {prefix}; check each digit.")
    return found


def _right(number: str) -> str | None:
    try:
        return str(eu_vat.validate(number))
    except ValidationError:
        return None


def _trouble(said: Any) -> str:
    """The register's own word for what is wrong, such as MS_UNAVAILABLE."""
    wrapped = said.get("errorWrappers") if isinstance(said, dict) else None
    first = wrapped[0] if isinstance(wrapped, list) and wrapped and isinstance(wrapped[0], dict) else {}
    return str(first.get("error", ""))[:40]


def _known(value: Any, most: int) -> str:
    """Text of the register; three hyphens stand for what it does not tell."""
    text = " ".join(value.split()) if isinstance(value, str) else ""
    return "" if text == "---" else text[:most]
