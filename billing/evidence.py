"""What proves that a customer used what was paid for: one archive for whoever answers a bank."""

import hashlib
import json
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import IO, Any

from django.db.models import Count, Max, Min, Sum

from accounts import moments
from accounts.models import Customer, TermsAcceptance
from billing import display
from billing.documents import archive, typesetter
from billing.exports import cells, usage_csv
from billing.models import Dispute, Document, TopUp, Usage

type Table = tuple[Sequence[str], Iterable[Sequence[object]]]

_PART_ROWS = 10_000


def write(target: IO[bytes], customer: Customer, *, sessions: Table, now: datetime) -> dict[str, Any]:
    """Writes the archive and returns its manifest: names, bytes and SHA-256 of each file.

    `sessions` are columns and rows of the work that was done, with the addresses and programs it was asked from.
    """
    files: list[dict[str, Any]] = []
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as packed:
        _add(packed, files, "summary.pdf", [typesetter.pdf("evidence.typ", _summary(customer, now), dated=now)])
        charges = Usage.objects.filter(customer=customer).select_related("api_key", "rate").order_by("id")
        _add_text(packed, files, "usage.csv", usage_csv.lines(charges.iterator(chunk_size=_PART_ROWS)))
        _add_text(packed, files, "sessions.csv", cells.csv_lines(*sessions))
        _add_text(packed, files, "payments.csv", cells.csv_lines(*_payments(customer)))
        _add_text(packed, files, "terms.csv", cells.csv_lines(*_terms(customer)))
        _add(packed, files, "account.json", [json.dumps(_facts(customer), indent=2).encode()])
        for document in Document.objects.filter(customer=customer).order_by("id"):
            _add(packed, files, f"documents/{document.number}.pdf", [archive.pdf(document)])
        manifest = {"account": customer.pk, "made_at": now.isoformat(timespec="seconds"), "files": list(files)}
        _add(packed, files, "manifest.json", [json.dumps(manifest, indent=2).encode()])
    return manifest


def _summary(customer: Customer, now: datetime) -> dict[str, Any]:
    used = Usage.objects.filter(customer=customer).aggregate(
        payments=Count("id"), charge=Sum("charge_nano_usd"), first=Min("at"), last=Max("at")
    )
    terms = TermsAcceptance.objects.filter(user__customers=customer).select_related("user").order_by("at")
    return {
        "account": f"{customer.name} (account {customer.pk})",
        "made": _minute(now),
        "facts": [
            ["Account opened", _minute(customer.created_at)],
            ["Members", ", ".join(customer.members.order_by("pk").values_list("email", flat=True))],
            ["Service used", f"{used['payments']:,} payments for {display.usd_text(used['charge'] or 0)}"],
            ["First and last use", f"{_minute(used['first'])} to {_minute(used['last'])}" if used["first"] else "None"],
        ],
        "payments": [
            [_minute(paid.settled_at), paid.card, display.cents_text(paid.total_cents, paid.currency)]
            for paid in TopUp.objects.filter(customer=customer, status=TopUp.Status.PAID).order_by("settled_at")
        ],
        "disputes": [
            [_minute(each.opened_at), each.said, each.get_stage_display(), each.amount_text]
            for each in Dispute.objects.filter(customer=customer).order_by("opened_at")
        ],
        "terms": [
            [_minute(each.at), each.user.email, f"Version {each.version}", each.address or "–"] for each in terms
        ],
    }


def _facts(customer: Customer) -> dict[str, Any]:
    return {
        "account": customer.pk,
        "name": customer.name,
        "status": customer.status,
        "opened_at": customer.created_at.isoformat(timespec="seconds"),
        "members": [
            {"email": user.email, "name": user.name, "joined_at": user.date_joined.isoformat(timespec="seconds")}
            for user in customer.members.order_by("pk")
        ],
        "api_keys": [
            {"name": key.name, "prefix": key.prefix, "created_at": key.created_at.isoformat(timespec="seconds")}
            for key in customer.api_keys.order_by("pk")
        ],
    }


def _payments(customer: Customer) -> Table:
    columns = ("paid_at", "payment", "charge", "method", "card", "card_country", "currency", "net", "tax", "total")
    rows = TopUp.objects.filter(customer=customer, status=TopUp.Status.PAID).order_by("settled_at")
    return columns, (
        (
            paid.settled_at.isoformat(timespec="seconds") if paid.settled_at else "",
            paid.payment_intent_id,
            paid.charge_id,
            paid.method,
            paid.card,
            paid.card_country,
            paid.currency,
            *(f"{cents // 100}.{cents % 100:02d}" for cents in (paid.net_cents, paid.tax_cents, paid.total_cents)),
        )
        for paid in rows
    )


def _terms(customer: Customer) -> Table:
    rows = TermsAcceptance.objects.filter(user__customers=customer).select_related("user").order_by("at")
    return ("accepted_at", "email", "version", "address", "user_agent"), (
        (
            each.at.isoformat(timespec="seconds"),
            each.user.email,
            each.version,
            each.address or "",
            cells.text(each.user_agent),
        )
        for each in rows
    )


def _minute(at: datetime | None) -> str:
    return f"{moments.minute(at.astimezone(UTC))} UTC" if at else "–"


def _add_text(packed: zipfile.ZipFile, files: list[dict[str, Any]], name: str, lines: Iterator[str]) -> None:
    _add(packed, files, name, (line.encode() for line in lines))


def _add(packed: zipfile.ZipFile, files: list[dict[str, Any]], name: str, parts: Iterable[bytes]) -> None:
    entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    digest, size = hashlib.sha256(), 0
    with packed.open(entry, "w", force_zip64=True) as file:
        for part in parts:
            file.write(part)
            digest.update(part)
            size += len(part)
    files.append({"name": name, "bytes": size, "sha256": digest.hexdigest()})
