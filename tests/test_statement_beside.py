"""What stands beside the balance is the same on a statement's page, in its PDF, in its CSV and in the API."""

import csv
import io
import re
import zipfile
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone
from pypdf import PdfReader

from accounts.models import Customer
from billing import disputes, set_aside, statements
from billing.exports import month_bundle
from billing.models import Journal, WalletEntry
from sandbox.psp.client import Psp
from tests import builders
from tests.money_back import NANO, booked_well, pay, spend, want

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("one_day")]
NAMES = {"kept_aside": "Kept aside for a dispute", "refunding": "Refunds on their way", "owed": "Owed"}


def amount_after(words: str, text: str) -> int:
    """The nano-dollars that stand behind these words; 0 where they do not stand."""
    found = re.search(re.escape(words) + r"\s*\$\s*([0-9,]+)\.\s*([0-9]{3})\s*([0-9]{3})\s*([0-9]{3})", text)
    return int("".join(found.groups()).replace(",", "")) if found else 0


def everywhere(payer: Customer, client: Client) -> dict[str, dict[str, int]]:
    """The three figures as each of the four ways tells them."""
    client.force_login(payer.members.get())
    month = f"{timezone.now():%Y-%m}"
    page = re.sub(r"<[^>]+>", "", client.get(f"/statements/{month}/").content.decode())
    pdf = PdfReader(io.BytesIO(client.get(f"/statements/{month}.pdf").content))
    paper = "\n".join(sheet.extract_text() for sheet in pdf.pages)
    answer: Any = client.get(f"/statements/{month}.csv")
    rows = list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode())))
    cells = {row["type"]: int(row["balance_usd"].replace(".", "")) for row in rows}
    secret = f"ch_live_{payer.pk:08}{'b' * 32}"
    if not payer.api_keys.filter(prefix=secret.split("_")[2][:16]):
        builders.api_key(payer, secret)
    guest = Client(headers={"authorization": f"Bearer {secret}"})
    body = guest.get(f"/api/v1/statements/{month}").json()
    amounts = sum(int(row["amount_usd"].replace(".", "")) for row in rows if row["amount_usd"])
    assert amounts == cells["closing"] - cells["opening"] == int(body["closing_nano_usd"]) - cells["opening"]
    return {
        "page": {code: amount_after(words, page) for code, words in NAMES.items()},
        "pdf": {code: amount_after(words, paper) for code, words in NAMES.items()},
        "csv": {code: cells.get(code, 0) for code in NAMES},
        "api": {code: int(body[f"{code}_nano_usd"]) for code in NAMES},
    }


def test_page_pdf_csv_and_api_tell_the_same_beside_the_balance(psp: Psp, payer: Customer, client: Client) -> None:
    nothing = dict.fromkeys(NAMES, 0)
    assert set(map(str, everywhere(payer, client).values())) == {str(nothing)}
    disputed = pay(psp, payer, 5_000)
    pay(psp, payer, 3_000)
    pay(psp, payer, 7_077, currency="eur", nano_usd_per_cent=10_850_001)
    want(payer, 12_345_678_901)
    told = everywhere(payer, client)
    assert told["api"]["refunding"] > 0
    assert set(map(str, told.values())) == {str(told["api"])}, told

    disputes.sync(psp.dispute(charge=disputed.charge_id, amount=3_000))
    told = everywhere(payer, client)
    assert (told["api"]["kept_aside"], told["api"]["refunding"]) == (30 * NANO, 0)
    assert set(map(str, told.values())) == {str(told["api"])}, told

    owes = builders.customer("Owes")
    lost = pay(psp, owes, 5_000)
    spend(owes, 35 * NANO + 7)
    dispute_id = psp.dispute(charge=lost.charge_id)
    disputes.sync(dispute_id)
    psp.decide(dispute_id, "lost")
    disputes.sync(dispute_id)
    told = everywhere(owes, client)
    assert told["api"] == {"kept_aside": 0, "refunding": 0, "owed": 35 * NANO + 7}
    assert set(map(str, told.values())) == {str(told["api"])}, told
    booked_well(psp)


def test_a_statement_of_the_past_tells_what_was_beside_it_then_and_the_bundle_has_it_too(
    psp: Psp, payer: Customer
) -> None:
    top_up = pay(psp, payer, 5_000)
    disputes.sync(psp.dispute(charge=top_up.charge_id))
    now = timezone.now()
    month = date(now.year, now.month, 1)
    after = datetime.combine(statements.next_month(month), datetime.min.time(), tzinfo=UTC)
    assert statements.of_month(payer, month, now=now).beside.frozen_nano_usd == 50 * NANO
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")  # dated forward for the story alone
        Journal.objects.filter(kind="dispute_hold").update(booked_at=after)
        cursor.execute("SET session_replication_role = DEFAULT")
    later = after + timedelta(days=1)
    assert not statements.of_month(payer, month, now=later).beside
    following = statements.of_month(payer, after.date(), now=later)
    assert following.beside == set_aside.at(payer, later)
    file = io.BytesIO()
    month_bundle.write(file, after.date(), now=later)
    with zipfile.ZipFile(file) as archive:
        text = archive.read(f"{following.number}.csv").decode()
    assert ",kept_aside," in text
    assert ",50.000000000," in text


def test_no_moment_parts_what_left_the_balance_from_what_stands_beside_it(psp: Psp, payer: Customer) -> None:
    """At the end of a month both are in it, or neither: else the same money would be told twice, or not at all."""
    top_up = pay(psp, payer, 5_000)
    disputes.sync(psp.dispute(charge=top_up.charge_id))
    left = WalletEntry.objects.select_related("journal").get(kind="dispute_hold")
    assert left.journal.occurred_at < left.created_at, "somebody asked before the statement that wrote it ran"
    assert not set_aside.at(payer, left.created_at)
    assert set_aside.at(payer, left.created_at + timedelta(microseconds=1)).frozen_nano_usd == 50 * NANO
