"""Documents: numbered without gaps whatever happens, written once, added up with the books, kept and mailed."""

import hashlib
import io
import json
import random
import re
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core import mail
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.utils import timezone
from pypdf import PdfReader

from accounts.models import AuditEntry, Customer
from billing import check_books, documents, ledger, postings
from billing.documents import archive, document_pdf, numbering, post, sellers, snapshot
from billing.models import Document, DocumentCounter, DocumentFile, DocumentMail, TopUp
from tests import builders
from tests.acting import acting_as

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("one_day")]
PAID: dict[str, Any] = {"status": TopUp.Status.PAID, "settled_at": builders.NOW}


def booked_well() -> None:
    assert not {name: figure for name, figure in check_books.invariants().items() if figure}


def receipt_of(top_up: TopUp) -> Document:
    return Document.objects.get(top_up=top_up, kind="receipt")


def give_back(top_up: TopUp, net_cents: int, *, reference: str | None = None) -> Document:
    """A refund of a top-up as the books take it, with its credit note."""
    name = reference or uuid.uuid4().hex
    legs = [
        postings.usd(
            postings.Account(postings.PREPAID, str(top_up.customer_id)),
            postings.Account(postings.STRIPE_BALANCE),
            net_cents * 10**7,
        )
    ]
    with transaction.atomic():
        ledger.book(kind="refund", reference=f"test:{name}", occurred_at=timezone.now(), transfers=legs)
        with connection.cursor() as cursor:
            cursor.execute("SELECT id FROM billing_journal WHERE reference = %s", [f"test:{name}"])
            (journal_id,) = cursor.fetchone()
        return documents.issue_credit_note(
            top_up, reference=name, net_cents=net_cents, tax_cents=0, journal_id=journal_id, reason="asked for"
        )


def unbooked(owner: Customer, cents: int, **more: Any) -> TopUp:
    """The row of a top-up that no journal knows yet."""
    amounts = dict.fromkeys(("amount_cents", "net_cents", "total_cents"), cents)
    return TopUp.objects.create(
        customer=owner, created_by=owner.members.get(), credit_nano_usd=cents * 10**7, **amounts, **more
    )


def text_of(pdf: bytes) -> str:
    """The words of a PDF, as a reader's tool finds them."""
    found = " ".join(page.extract_text() for page in PdfReader(io.BytesIO(pdf)).pages)
    return re.sub(r"\s+", " ", found)


def test_every_paid_top_up_has_one_receipt_that_says_what_was_booked() -> None:
    top_up = builders.top_up(builders.customer("Acme GmbH"), 100)
    receipt = receipt_of(top_up)
    assert re.fullmatch(r"CH-20\d\d-R-000001", receipt.number)
    assert (receipt.net_cents, receipt.tax_cents, receipt.total_cents) == (10_000, 0, 10_000)
    assert receipt.total_nano_usd == 100 * 10**9
    said = receipt.snapshot
    assert said["totals"] == {"net": "100.00", "tax": "0.00", "total": "100.00"}
    assert (said["buyer"]["name"], said["seller"]["name"], said["number"]) == (
        "Acme GmbH",
        "Clearinghouse",
        receipt.number,
    )
    assert hashlib.sha256(snapshot.canonical(said)).hexdigest() == receipt.snapshot_sha256
    with transaction.atomic():
        assert documents.issue_receipt(top_up) == receipt
    assert Document.objects.count() == DocumentMail.objects.count() == 1
    booked_well()


def test_sixteen_issuers_of_whom_some_roll_back_leave_no_gap() -> None:
    owner = builders.customer()
    top_ups = [builders.top_up(owner, 10) for _ in range(2)]
    before = DocumentCounter.objects.get().last
    together = threading.Barrier(16)
    chance = random.Random(7)
    wishes = [chance.random() < 0.4 for _ in range(16)]

    class Broke(Exception):
        pass

    def issue(breaks: bool) -> str | None:
        try:
            row = unbooked(owner, 1_000, **PAID, payment_intent_id=f"pi_{uuid.uuid4().hex}")
            together.wait()
            with transaction.atomic():
                journal = builders.credit(owner, 10**10, reference=f"stripe:{row.payment_intent_id}")
                document = documents.issue_receipt(row, journal_id=journal)
                if breaks:
                    raise Broke
                return document.number
        except Broke:
            TopUp.objects.filter(pk=row.pk).update(status=TopUp.Status.FAILED)
            return None
        finally:
            connection.close()

    with ThreadPoolExecutor(16) as pool:
        numbers = [number for number in pool.map(issue, wishes) if number]
    assert len(numbers) == wishes.count(False)
    assert len(set(numbers)) == len(numbers)
    assert DocumentCounter.objects.get().last == before + len(numbers) == Document.objects.count()
    assert [int(number[-6:]) for number in sorted(numbers)] == list(range(before + 1, before + 1 + len(numbers)))
    assert len(top_ups) == before
    booked_well()


def test_a_number_without_its_document_and_a_document_without_its_number_are_refused() -> None:
    receipt = receipt_of(builders.top_up(builders.customer(), 10))
    with pytest.raises(IntegrityError, match="a number without its document"), transaction.atomic():
        numbering.take(receipt.entity, receipt.Kind.RECEIPT, issued_at=timezone.now())
    counter = DocumentCounter.objects.get()
    assert counter.last == 1
    for change in ({"last": 5}, {"last": 1}, {"year": 2030, "last": 2}):
        with pytest.raises(IntegrityError, match="one at a time"), transaction.atomic():
            DocumentCounter.objects.update(**change)
    receipt.pk, receipt.sequence, receipt.number, receipt.reference = None, 2, "CH-2026-R-000002", "other"
    with pytest.raises(IntegrityError, match="counter"), transaction.atomic():
        receipt.save(force_insert=True)
    booked_well()


def test_documents_and_their_files_never_change() -> None:
    receipt = receipt_of(builders.top_up(builders.customer(), 10))
    archive.keep(receipt)
    for statement in (
        "UPDATE billing_document SET total_cents = 1",
        "DELETE FROM billing_document",
        "UPDATE billing_documentfile SET content = ''",
        "DELETE FROM billing_documentfile",
        "DELETE FROM billing_documentcounter",
        "TRUNCATE billing_document CASCADE",
    ):
        with pytest.raises(IntegrityError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)


def test_series_are_kept_by_seller_kind_and_year(settings: Any) -> None:
    owner = builders.customer()
    top_up = builders.top_up(owner, 20)
    note = give_back(top_up, 500)
    settings.SELLER_CODE = "NW"
    settings.SELLER_NAME = "Northwind Clearing Ltd"
    other = receipt_of(builders.top_up(owner, 10))
    entity = sellers.current()
    with transaction.atomic():
        first = numbering.take(entity, Document.Kind.RECEIPT, issued_at=datetime(2031, 1, 1, tzinfo=UTC))
        transaction.set_rollback(True)
    assert note.number == receipt_of(top_up).number.replace("-R-", "-C-")
    assert other.number.startswith("NW-")
    assert other.number.endswith("-R-000001")
    assert str(first) == "NW-2031-R-000001"
    assert other.snapshot["seller"]["name"] == "Northwind Clearing Ltd"
    settings.SELLER_NAME = "Northwind Clearing plc"
    sellers.follow_settings()
    sellers.follow_settings()
    assert AuditEntry.objects.filter(action="legal_entity.changed").count() == 1
    assert receipt_of(builders.top_up(owner, 10)).snapshot["seller"]["name"] == "Northwind Clearing plc"
    other.refresh_from_db()
    assert other.snapshot["seller"]["name"] == "Northwind Clearing Ltd"


def test_credit_notes_mirror_their_receipt_and_never_give_back_more() -> None:
    top_up = builders.top_up(builders.customer("Acme"), 100)
    receipt = receipt_of(top_up)
    first = give_back(top_up, 4_000, reference="one")
    assert (first.corrects, first.net_cents, first.currency) == (receipt, 4_000, "usd")
    assert first.snapshot["buyer"] == receipt.snapshot["buyer"]
    assert first.snapshot["seller"] == receipt.snapshot["seller"]
    assert first.snapshot["references"]["corrects"] == receipt.number
    assert give_back(top_up, 4_000, reference="one") == first
    with pytest.raises(documents.MoreThanReceived):
        give_back(top_up, 6_001)
    give_back(top_up, 6_000)
    figures = check_books.invariants()
    assert figures["documents_missing_in_their_series"] == 0
    assert figures["receipts_credited_beyond_their_total_cents"] == 0
    assert figures["documents_that_differ_from_their_journal_nano_usd"] == 0


def test_top_ups_of_before_there_were_receipts_get_theirs_from_the_clock() -> None:
    owner = builders.customer()
    rows = []
    for _ in range(3):
        row = unbooked(owner, 2_500, **PAID, payment_intent_id=f"pi_{uuid.uuid4().hex}")
        builders.credit(owner, 25 * 10**9, reference=f"stripe:{row.payment_intent_id}")
        rows.append(row)
    assert check_books.invariants()["paid_top_ups_without_receipt"] == 3
    with acting_as("worker"):
        assert documents.issue_missing_receipts() == 3
        assert documents.issue_missing_receipts() == 0
        assert archive.keep_missing() == 3
        assert archive.keep_missing() == 0
    booked_well()


def test_a_receipt_is_refused_for_what_is_not_paid_or_not_booked() -> None:
    owner = builders.customer()
    row = unbooked(owner, 1_000)
    for status in (TopUp.Status.OPEN, TopUp.Status.PAID):
        TopUp.objects.update(status=status, settled_at=timezone.now(), payment_intent_id="pi_unbooked")
        with pytest.raises(documents.NotPaid), transaction.atomic():
            documents.issue_receipt(row)
    TopUp.objects.update(status=TopUp.Status.FAILED)
    assert not Document.objects.exists()
    booked_well()


def test_the_file_says_what_the_snapshot_says_and_stays_the_same() -> None:
    top_up = builders.top_up(builders.customer("Süß & Söhne #[*GmbH*]"), 1_284)
    receipt = receipt_of(top_up)
    offered = archive.pdf(receipt)
    assert archive.keep(receipt) == offered == document_pdf.render(receipt.snapshot) == archive.keep(receipt)
    assert DocumentFile.objects.get().sha256 == hashlib.sha256(offered).hexdigest()
    words = text_of(offered)
    for said in (receipt.number, "Süß & Söhne #[*GmbH*]", "Clearinghouse", "$1,284.00", "Total paid", str(top_up.pk)):
        assert said in words
    note = give_back(top_up, 28_400)
    words = text_of(archive.pdf(note))
    for said in ("Credit note", note.number, receipt.number, "$284.00", "Total given back"):
        assert said in words
    with acting_as("web"), transaction.atomic():
        pro_forma = documents.issue_pro_forma(
            unbooked(top_up.customer, 500_000),
            pay_to={"IBAN": "DE89 3704 0044 0532 0130 00", "reference": "CH-000123"},
            due_at=timezone.now() + timedelta(days=14),
        )
    words = text_of(archive.pdf(pro_forma))
    for said in ("Pro-forma", "not an invoice", "DE89 3704 0044 0532 0130 00", "CH-000123", "$5,000.00"):
        assert said in words


def test_the_web_can_offer_a_pro_forma_and_issue_nothing_else() -> None:
    top_up = builders.top_up(builders.customer(), 10)
    with acting_as("web"):
        for kind in ("receipt", "credit_note"):
            with pytest.raises(Exception, match="pro-forma documents only"), transaction.atomic():
                numbering.take(sellers.current(), Document.Kind(kind), issued_at=timezone.now())
        with pytest.raises(Exception, match="permission denied"), connection.cursor() as cursor:
            cursor.execute("INSERT INTO billing_documentmail (document_id, \"to\") VALUES (1, 'x')")
    assert receipt_of(top_up)


def test_a_receipt_is_mailed_once_with_its_file(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    top_up = builders.top_up(builders.customer(), 50)
    receipt = receipt_of(top_up)

    class Died(BaseException):
        pass

    def away(*_: Any, **__: Any) -> None:
        raise ConnectionRefusedError

    with monkeypatch.context() as patched:
        patched.setattr("accounts.mail.send", away)
        assert post.send_waiting() == 0
    assert post.send_waiting() == 0, "a mail that did not go waits before the next try"
    wish = DocumentMail.objects.get()
    assert (wish.attempts, wish.error, wish.sent_at) == (1, "ConnectionRefusedError", None)

    DocumentMail.objects.update(not_before=timezone.now())
    together = threading.Barrier(4)

    def send(_: int) -> int:
        try:
            together.wait()
            with acting_as("worker"):
                return post.send_waiting()
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(send, range(4))) == 1
    [sent] = mail.outbox
    assert sent.to == [top_up.created_by.email]
    assert sent.subject == f"Receipt {receipt.number} for $50.00"
    assert sent.extra_headers["Message-ID"] == f"<{receipt.number}@127.0.0.1>"
    [(name, content, kind)] = sent.attachments
    assert (name, content, kind) == (f"{receipt.number}.pdf", archive.pdf(receipt), "application/pdf")
    assert post.send_waiting() == 0


def test_members_see_their_documents_and_nobody_elses(client: Client) -> None:
    mine, theirs = builders.customer("Mine"), builders.customer("Theirs")
    receipt = receipt_of(builders.top_up(mine, 42))
    foreign = receipt_of(builders.top_up(theirs, 43))
    client.force_login(mine.members.get())
    page = client.get("/documents/").content.decode()
    assert receipt.number in page
    assert "$42.00" in page
    assert foreign.number not in page
    answer = client.get(f"/documents/{receipt.number}.pdf")
    assert (answer.status_code, answer.content[:5]) == (200, b"%PDF-")
    assert receipt.number in answer.headers["Content-Disposition"]
    assert json.loads(client.get(f"/documents/{receipt.number}.json").content) == receipt.snapshot
    for path in ("documents", "api/v1/documents"):
        for kind in ("pdf", "json"):
            assert client.get(f"/{path}/{foreign.number}.{kind}").status_code == 404
    [row] = client.get("/api/v1/documents").json()["data"]
    assert (row["number"], row["total_cents"], row["sha256"]) == (receipt.number, 4_200, receipt.snapshot_sha256)
    assert client.get(f"/api/v1/documents/{receipt.number}").json() == receipt.snapshot
    assert client.get(f"/api/v1/documents/{receipt.number}.pdf").content == answer.content
    assert client.get(f"/finance/documents/{receipt.number}.pdf").status_code == 403
    client.force_login(theirs.members.get())
    assert client.get("/documents/").content.decode().count("000002.pdf") == 2


def test_a_new_customer_reads_that_there_are_no_documents_yet(client: Client) -> None:
    owner: Customer = builders.customer()
    client.force_login(owner.members.get())
    assert "No documents yet" in client.get("/documents/").content.decode()
    assert client.get("/api/v1/documents").json() == {"data": [], "next_cursor": None}
