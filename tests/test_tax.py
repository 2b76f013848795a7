"""Tax on top-ups: the rules as a table, each case with its numbers through provider, books and documents."""

import io
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import IntegrityError, ProgrammingError, transaction
from django.test import Client
from pypdf import PdfReader

from accounts.models import AuditEntry, Customer, User
from billing import (
    check_books,
    documents,
    ledger,
    postings,
    profiles,
    refund_bookings,
    stripe_gateway,
    tax,
    taxing,
    topups,
)
from billing.documents import archive, sellers
from billing.models import BillingProfile, Document, FxRate, TaxMode, TaxRegistration, TopUp, TopUpTax
from billing.tax import Treatment
from sandbox.psp.client import Psp, running_psp
from tests import builders
from tests.acting import acting_as
from tests.standin_vat_register import Standin, running_register
from tests.top_up_stage import session_of, wallet_nano_usd

REGISTRATIONS = ("DE", "EU", "GB", "NO", "US-CA", "US-OR")


@pytest.mark.parametrize(
    ("seller", "country", "region", "valid_id", "expected"),
    [
        ("DE", "DE", "", False, Treatment.TAXED),
        ("DE", "DE", "", True, Treatment.TAXED),
        ("DE", "FR", "", False, Treatment.TAXED),
        ("DE", "FR", "", True, Treatment.REVERSE_CHARGE),
        ("DE", "GB", "", False, Treatment.TAXED),
        ("DE", "GB", "", True, Treatment.REVERSE_CHARGE),
        ("DE", "CH", "", False, Treatment.NOT_REGISTERED),
        ("DE", "NO", "", False, Treatment.TAXED),
        ("DE", "US", "CA", False, Treatment.TAXED),
        ("DE", "US", "FL", False, Treatment.OUTSIDE_SCOPE),
        ("DE", "JP", "", False, Treatment.OUTSIDE_SCOPE),
        ("US", "FR", "", True, Treatment.REVERSE_CHARGE),
        ("US", "US", "CA", True, Treatment.TAXED),
        ("US", "US", "FL", False, Treatment.NOT_REGISTERED),
        ("US", "JP", "", False, Treatment.NOT_REGISTERED),
    ],
)
def test_who_sells_who_buys_and_where_one_is_registered_decide(
    seller: str, country: str, region: str, valid_id: bool, expected: Treatment
) -> None:
    found = tax.treatment(
        seller=seller, registrations=REGISTRATIONS, country=country, region=region, valid_tax_id=valid_id
    )
    assert found == expected


def test_without_a_registration_nothing_is_taxed() -> None:
    for country in ("DE", "FR", "GB", "US", "JP"):
        found = tax.treatment(seller="US", registrations=(), country=country, region="CA")
        assert found == Treatment.NOT_REGISTERED


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Psp]:
    with running_psp(tmp_path_factory.mktemp("psp")) as running:
        running.settings(settle_after_seconds=0)
        yield running


@pytest.fixture
def psp(transactional_db: None, provider: Psp, settings: Any) -> Iterator[Psp]:
    """A seller in Germany that is registered in some places, and a provider that knows the same."""
    settings.STRIPE_API_BASE = provider.url
    settings.STRIPE_SECRET_KEY = provider.secret_key
    settings.SELLER_COUNTRY = "DE"
    settings.SELLER_NAME = "Clearinghouse Network GmbH"
    settings.SELLER_ADDRESS = "Torstraße 12; 10119 Berlin"
    settings.SELLER_TAX_ID = "DE136695976"
    provider.settings(tax_head_office="DE", tax_registrations=list(REGISTRATIONS))
    for jurisdiction in REGISTRATIONS:
        number = {"GB": "GB980780684", "US-CA": "102-345678"}.get(jurisdiction, "")
        TaxRegistration.objects.create(entity=sellers.current(), jurisdiction=jurisdiction, number=number)
    yield provider
    provider.knob("DELETE", "/sandbox/rules")


@pytest.fixture
def register(settings: Any) -> Iterator[Standin]:
    with running_register() as standin:
        settings.VAT_CHECK_URL = standin.url
        standin.known.add("FR40303265045")
        yield standin


def buyer(country: str, region: str = "", tax_id: tuple[str, str] = ("", "")) -> Customer:
    """A customer with a profile whose tax id was checked."""
    customer = builders.customer(f"Buyer {country}")
    values = {
        "legal_name": f"Buyer {country} Ltd",
        "line1": "1 Main Street",
        "postal_code": "12345",
        "city": "Town",
        "region": region,
        "country": country,
        "tax_id_kind": tax_id[0],
        "tax_id": tax_id[1],
    }
    profiles.save(customer, user=customer.members.get(), values=values)
    profiles.check_waiting()
    return customer


def begin(customer: Customer, amount_cents: int = 10_000) -> TopUp:
    with acting_as("web"):
        return topups.start(customer=customer, user=customer.members.get(), amount_cents=amount_cents)


def pay(psp: Psp, customer: Customer, amount_cents: int = 10_000) -> tuple[TopUp, Document]:
    top_up = begin(customer, amount_cents)
    assert psp.pay(session_of(top_up)).status == 303
    with acting_as("worker"):
        assert topups.settle(top_up.pk) == TopUp.Status.PAID
    top_up.refresh_from_db()
    return top_up, Document.objects.get(top_up=top_up, kind="receipt")


def words(document: Document) -> str:
    pages = PdfReader(io.BytesIO(archive.pdf(document))).pages
    return re.sub(r"\s+", " ", " ".join(page.extract_text() for page in pages))


def booked_well() -> None:
    assert not {name: figure for name, figure in check_books.invariants().items() if figure}


CASES = [
    # country, region, tax id, tax in cents, owed to, treatment, words on the receipt
    ("DE", "", ("", ""), 1_900, {"DE": 1_900}, "taxed", ["VAT Germany 19 %", "$19.00", "$119.00"]),
    ("FR", "", ("eu_vat", "FR40303265045"), 0, {}, "reverse_charge", ["Reverse charge", "FR40303265045", "$100.00"]),
    ("FR", "", ("eu_vat", "FR23334175221"), 2_000, {"FR": 2_000}, "taxed", ["VAT France 20 %", "$120.00"]),
    ("GB", "", ("", ""), 2_000, {"GB": 2_000}, "taxed", ["VAT United Kingdom 20 %", "GB980780684", "$120.00"]),
    ("US", "CA", ("", ""), 725, {"US-CA": 725}, "taxed", ["Sales tax California 7.25 %", "102-345678", "$107.25"]),
    ("US", "OR", ("", ""), 0, {}, "taxed", ["Total paid $100.00"]),
    ("US", "FL", ("", ""), 0, {}, "outside_scope", ["Not subject to VAT in the European Union"]),
    ("NO", "", ("", ""), 2_500, {"NO": 2_500}, "taxed", ["VAT Norway 25 %", "$125.00"]),
]


@pytest.mark.parametrize(("country", "region", "tax_id", "due", "owed", "treatment", "said"), CASES)
def test_each_case_is_charged_booked_and_told_as_it_should_be(
    psp: Psp,
    register: Standin,
    country: str,
    region: str,
    tax_id: tuple[str, str],
    due: int,
    owed: dict[str, int],
    treatment: str,
    said: list[str],
) -> None:
    customer = buyer(country, region, tax_id)
    top_up, receipt = pay(psp, customer)
    assert (top_up.net_cents, top_up.tax_cents, top_up.total_cents) == (10_000, due, 10_000 + due)
    assert top_up.tax_parts == owed
    assert (top_up.tax.treatment, top_up.tax.agrees, top_up.tax.country) == (treatment, True, country)
    assert wallet_nano_usd(customer) == 100 * 10**9
    for office, cents in owed.items():
        assert ledger.balance(postings.TAX_PAYABLE, "USD", office) == -cents * 10**7
    assert ledger.balance(postings.PREPAID, "USD", str(customer.pk)) == -100 * 10**9
    assert (receipt.net_cents, receipt.tax_cents, receipt.total_cents) == (10_000, due, 10_000 + due)
    text = words(receipt)
    for sentence in [*said, receipt.number, "Clearinghouse Network GmbH", "Torstraße 12", f"Buyer {country} Ltd"]:
        assert sentence in text, text
    assert receipt.snapshot["buyer"]["details"]["location"]["billing_country"] == country
    booked_well()


def test_a_credit_note_gives_the_tax_back_in_proportion_to_the_last_cent(psp: Psp) -> None:
    FxRate.objects.create(currency="eur", nano_usd_per_cent=10_850_000, source="ECB")
    customer = buyer("DE")
    top_up, receipt = pay(psp, customer, 10_001)
    assert receipt.tax_cents == 1_900
    assert receipt.snapshot["national_tax"]["tax"] == "17.51"
    assert "VAT in EUR: €17.51 (1 EUR = $1.085, ECB" in words(receipt)
    given = given_net = 0
    for number, net_cents in enumerate((4_000, 3_333, 2_668)):
        given_net += net_cents
        taxed = refund_bookings.share(receipt.tax_cents, given_net, receipt.net_cents) - given
        given += taxed
        legs = [
            postings.usd(
                postings.Account(postings.PREPAID, str(customer.pk)),
                postings.Account(postings.STRIPE_BALANCE),
                net_cents * 10**7,
            ),
            postings.usd(
                postings.Account(postings.TAX_PAYABLE, "DE"), postings.Account(postings.STRIPE_BALANCE), taxed * 10**7
            ),
        ]
        with transaction.atomic():
            journal = ledger.book(kind="refund", reference=f"refund:{number}", occurred_at=builders.NOW, transfers=legs)
            assert journal
            note = documents.issue_credit_note(
                top_up,
                reference=str(number),
                net_cents=net_cents,
                tax_cents=taxed,
                journal_id=journal,
                reason="Asked for by the customer",
            )
        assert note.snapshot["seller"] == receipt.snapshot["seller"]
        assert note.snapshot["tax"][0]["rate_percent"] == "19"
        assert sum(int(line["tax"].replace(".", "")) for line in note.snapshot["tax"]) == taxed
    assert given == receipt.tax_cents
    assert ledger.balance(postings.TAX_PAYABLE, "USD", "DE") == 0
    figures = check_books.invariants()
    assert figures["documents_that_differ_from_their_journal_nano_usd"] == 0
    assert figures["receipts_credited_beyond_their_total_cents"] == 0
    assert "VAT Germany 19 %" in words(note)


def test_while_a_vat_id_is_pending_tax_is_charged_and_once_it_is_valid_it_is_not(psp: Psp, register: Standin) -> None:
    register.trouble = "MS_UNAVAILABLE"
    customer = buyer("FR", "", ("eu_vat", "FR40303265045"))
    assert BillingProfile.objects.get().tax_id_state == "unreachable"
    first, receipt = pay(psp, customer)
    assert (first.tax_cents, receipt.snapshot["buyer"]["details"]["tax_id_check"]["state"]) == (2_000, "unreachable")
    register.trouble = ""
    BillingProfile.objects.update(check_not_before=builders.NOW)
    assert profiles.check_waiting() == 1
    second, _ = pay(psp, customer)
    assert (second.tax_cents, second.tax.treatment) == (0, "reverse_charge")
    profiles.save(customer, user=customer.members.get(), values={**fields(), "tax_id": "", "tax_id_kind": ""})
    third, _ = pay(psp, customer)
    assert (third.tax_cents, third.tax.treatment) == (2_000, "taxed")
    booked_well()


def fields() -> dict[str, str]:
    profile = BillingProfile.objects.get()
    return {name: getattr(profile, name) for name in profiles.FIELDS}


def test_tax_at_use_leaves_the_top_up_untaxed_and_says_so(psp: Psp) -> None:
    entity = sellers.current()
    TaxMode.objects.create(entity=entity, country="", mode="at_use")
    TaxMode.objects.create(entity=entity, country="GB", mode="at_top_up")
    top_up, receipt = pay(psp, buyer("DE"))
    assert (top_up.tax_cents, top_up.tax.mode, top_up.tax.treatment) == (0, "at_use", "taxed")
    assert "Tax is charged when the balance is used." in words(receipt)
    taxed, _ = pay(psp, buyer("GB"))
    assert taxed.tax_cents == 2_000
    booked_well()


def test_a_registration_that_ended_collects_no_more(psp: Psp) -> None:
    TaxRegistration.objects.create(entity=sellers.current(), jurisdiction="US-CA", collects=False)
    psp.settings(tax_registrations=["DE", "EU"])
    top_up, _ = pay(psp, buyer("US", "CA"))
    assert (top_up.tax_cents, top_up.tax.treatment, top_up.tax.agrees) == (0, "outside_scope", True)


def test_a_provider_that_taxes_otherwise_than_our_rules_is_told_to_finance(psp: Psp) -> None:
    psp.settings(tax_registrations=[])
    top_up, _ = pay(psp, buyer("DE"))
    assert (top_up.tax_cents, top_up.tax.treatment, top_up.tax.agrees) == (0, "not_registered", False)
    booked_well()


def test_a_customer_without_a_profile_is_asked_where_it_is_and_without_registrations_is_not(
    psp: Psp, client: Client
) -> None:
    customer = builders.customer()
    client.force_login(customer.members.get())
    form = {"top_up": "0b9f2c1e-1111-4222-8333-444455556666", "choice": "5000"}
    answer = client.post("/wallet/top-ups/", form)
    assert answer.headers["Location"] == "/settings/billing/?why=top-up"
    assert "One step before the first top-up" in client.get(answer.headers["Location"]).content.decode()
    assert not TopUp.objects.exists()
    for jurisdiction in REGISTRATIONS:
        TaxRegistration.objects.create(entity=sellers.current(), jurisdiction=jurisdiction, collects=False)
    assert client.post("/wallet/top-ups/", form).headers["Location"].startswith("/wallet/top-ups/")
    assert TopUp.objects.get().total_cents == 5_000
    assert not TopUpTax.objects.exists()


@pytest.mark.parametrize("fault", ["hang_up_after", "hang_up_before"])
@pytest.mark.parametrize("door", ["POST /v1/checkout/sessions", "POST /v1/customers/*/tax_ids", "POST /v1/customers/*"])
def test_an_answer_that_got_lost_taxes_once(psp: Psp, register: Standin, fault: str, door: str) -> None:
    customer = buyer("FR", "", ("eu_vat", "FR40303265045"))
    psp.api_rule(fault, door, times=3)
    top_up = begin(customer)
    assert top_up.status == TopUp.Status.STARTED
    psp.knob("DELETE", "/sandbox/rules")
    with acting_as("worker"):
        assert topups.settle(top_up.pk) == TopUp.Status.OPEN
    top_up.refresh_from_db()
    assert psp.pay(session_of(top_up)).status == 303
    assert topups.settle(top_up.pk) == TopUp.Status.PAID
    assert (TopUpTax.objects.get().treatment, Document.objects.count()) == ("reverse_charge", 1)
    booked_well()


def test_payments_without_a_page_get_their_tax_by_calculation_once(psp: Psp) -> None:
    customer = buyer("NO")
    row = TopUp.objects.create(
        customer=customer,
        created_by=customer.members.get(),
        method="saved_card",
        amount_cents=4_000,
        net_cents=4_000,
        total_cents=4_000,
        credit_nano_usd=40 * 10**9,
    )
    psp.api_rule("hang_up_after", "POST /v1/tax/calculations", times=3)
    with acting_as("worker"):
        with pytest.raises(stripe_gateway.Unavailable):
            taxing.calculate(row)
        psp.knob("DELETE", "/sandbox/rules")
        taxing.calculate(row)
        taxing.calculate(row)
    assert (row.tax_cents, row.total_cents, row.tax_parts) == (1_000, 5_000, {"NO": 1_000})
    assert row.tax.calculation_id.startswith("taxcalc_")
    TopUp.objects.update(status=TopUp.Status.OPEN)
    for change in ({"tax_cents": 0, "total_cents": 4_000}, {"tax_parts": {"DE": 1_000}}):
        with acting_as("web"), pytest.raises(ProgrammingError, match="known before its payment"), transaction.atomic():
            TopUp.objects.update(**change)
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        TopUpTax.objects.update(treatment="taxed")


def test_finance_adds_where_the_seller_is_registered_and_when_tax_is_due(
    transactional_db: None, client: Client, settings: Any
) -> None:
    settings.STAFF_MFA_REQUIRED = False
    staff = builders.user()
    User.objects.filter(pk=staff.pk).update(is_staff=True, is_superuser=True)
    client.force_login(User.objects.get(pk=staff.pk))
    rooms = "/staff/billing/taxregistration/add/", "/staff/billing/taxmode/add/"
    with acting_as("web"):
        for typed in ("XX", "US", "US-ZZ", "FR-75"):
            answer = client.post(rooms[0], {"jurisdiction": typed, "collects": "on"})
            assert "one-stop shop" in answer.content.decode()
        for typed in ("us-ca", "EU", "de"):
            assert client.post(rooms[0], {"jurisdiction": typed, "collects": "on"}).status_code == 302
        assert client.post(rooms[1], {"country": "de", "mode": "at_use"}).status_code == 302
    entity = sellers.current()
    assert taxing.collected_in(entity) == {"US-CA", "EU", "DE"}
    assert (taxing.mode_of(entity, "DE"), taxing.mode_of(entity, "FR")) == ("at_use", "at_top_up")
    with acting_as("web"):
        assert client.post(rooms[0], {"jurisdiction": "EU"}).status_code == 302
    assert taxing.collected_in(entity) == {"US-CA", "DE"}
    assert AuditEntry.objects.filter(action="taxregistration.added").count() == 4
