"""What stands on a document, as plain data: its canonical bytes are hashed, its pages are set from it; pure."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

FORMAT = "clearinghouse-document/1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Party:
    """Seller or buyer: `tax_ids` are (kind, number); `details` what was known of a buyer besides."""

    name: str
    address: Sequence[str] = ()
    country: str = ""
    tax_ids: Sequence[tuple[str, str]] = ()
    email: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One thing sold: `net_cents` without tax, in the document's currency."""

    description: str
    net_cents: int
    quantity: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class TaxLine:
    """Tax of one jurisdiction: `rate_percent` as text (`19`, `8.875`), base and tax in the document's currency."""

    jurisdiction: str
    name: str
    rate_percent: str
    base_cents: int
    tax_cents: int
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """Everything a document says except its number.

    `notes` are the sentences the law or the reader wants; `national` is the tax in the currency of the country it is
    owed to, with the rate, where that is another one.
    """

    kind: str
    issued_at: datetime
    supplied_at: datetime
    seller: Party
    buyer: Party
    lines: Sequence[Line]
    tax: Sequence[TaxLine]
    currency: str
    net_cents: int
    tax_cents: int
    notes: Sequence[str] = ()
    national: Mapping[str, str] = field(default_factory=dict)
    payment: Mapping[str, str] = field(default_factory=dict)
    references: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert sum(line.net_cents for line in self.lines) == self.net_cents
        assert sum(line.tax_cents for line in self.tax) == self.tax_cents


def build(content: Content, *, number: str) -> dict[str, Any]:
    """The snapshot: text, lists and objects only; amounts as decimal text, moments as ISO 8601 in UTC."""
    return {
        "format": FORMAT,
        "kind": content.kind,
        "number": number,
        "issued_at": moment(content.issued_at),
        "supplied_at": moment(content.supplied_at),
        "currency": content.currency.upper(),
        "seller": _party(content.seller),
        "buyer": _party(content.buyer),
        "lines": [
            {"description": line.description, "quantity": str(line.quantity), "net": amount(line.net_cents)}
            for line in content.lines
        ],
        "tax": [
            {
                "jurisdiction": line.jurisdiction,
                "name": line.name,
                "rate_percent": line.rate_percent,
                "base": amount(line.base_cents),
                "tax": amount(line.tax_cents),
                "reason": line.reason,
            }
            for line in content.tax
        ],
        "totals": {
            "net": amount(content.net_cents),
            "tax": amount(content.tax_cents),
            "total": amount(content.net_cents + content.tax_cents),
        },
        "national_tax": dict(content.national),
        "notes": list(content.notes),
        "payment": dict(content.payment),
        "references": dict(content.references),
    }


def canonical(snapshot: Mapping[str, Any]) -> bytes:
    """The same snapshot gives the same bytes: members sorted, no white space, UTF-8."""
    return json.dumps(snapshot, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def sha256(snapshot: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical(snapshot)).hexdigest()


def amount(cents: int) -> str:
    """`-1234.50` from hundredths."""
    whole, rest = divmod(abs(cents), 100)
    return f"{'-' if cents < 0 else ''}{whole}.{rest:02d}"


def moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _party(party: Party) -> dict[str, Any]:
    plain = asdict(party)
    plain["address"] = list(party.address)
    plain["tax_ids"] = [{"kind": kind, "number": number} for kind, number in party.tax_ids]
    plain["details"] = dict(party.details)
    return plain
