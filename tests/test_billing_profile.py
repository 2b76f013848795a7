"""Billing profiles: saved by owners, tax ids checked by digits and by a register that may be away."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.test import Client
from django.utils import timezone

from accounts.models import AuditEntry, Customer, Membership
from billing import profiles, vat
from billing.models import BillingProfile, Document, DocumentMail, TaxIdCheck
from tests import builders
from tests.acting import acting_as
from tests.standin_vat_register import Standin, running_register

pytestmark = pytest.mark.django_db(transaction=True)

FRENCH = {
    "legal_name": "Example Vidéo SARL",
    "line1": "12 rue de Rivoli",
    "postal_code": "75001",
    "city": "Paris",
    "country": "FR",
    "tax_id": "FR 40 303 265 045",
    "invoice_email": "compta@example.fr",
    "po_number": "PO-7781",
}


@pytest.fixture
def register(settings: Any) -> Iterator[Standin]:
    with running_register() as standin:
        settings.VAT_CHECK_URL = standin.url
        settings.SELLER_TAX_ID = "DE136695976"
        yield standin


@pytest.fixture
def owner(client: Client) -> Customer:
    customer = builders.customer("Example")
    client.force_login(customer.members.get())
    return customer


def save(client: Client, **changes: str) -> Any:
    return client.post("/settings/billing/save/", {**FRENCH, **changes})


def ask_again() -> int:
    BillingProfile.objects.update(check_not_before=timezone.now() - timedelta(seconds=1))
    with acting_as("worker"):
        return profiles.check_waiting()


@pytest.mark.parametrize(
    ("typed", "country", "number"),
    [
        ("FR 40 303 265 045", "FR", "FR40303265045"),
        ("40303265045", "FR", "FR40303265045"),
        ("de136695976", "DE", "DE136695976"),
        ("094259216", "GR", "EL094259216"),
        ("GB 980 7806 84", "GB", "GB980780684"),
        ("980780684", "GB", "GB980780684"),
        ("NO 995 525 828 MVA", "NO", "995525828MVA"),
        ("CHE-107.787.577 IVA", "CH", "CHE107787577IVA"),
        ("12-3456789", "US", "12-3456789"),
    ],
)
def test_tax_ids_are_read_as_people_write_them(typed: str, country: str, number: str) -> None:
    assert vat.read(typed, country).number == number


@pytest.mark.parametrize(
    ("typed", "country"),
    [("FR40303265046", "FR"), ("DE136695976", "FR"), ("GB980780685", "GB"), ("995525829MVA", "NO"), ("CHE1", "CH")],
)
def test_tax_ids_whose_digits_cannot_be_right_are_refused(typed: str, country: str) -> None:
    with pytest.raises(vat.BadTaxId):
        vat.read(typed, country)


def test_an_owner_saves_the_profile_and_the_register_confirms_its_vat_id(
    register: Standin, owner: Customer, client: Client
) -> None:
    register.known.add("FR40303265045")
    with acting_as("web"):
        assert save(client).status_code == 302
    saved = BillingProfile.objects.get()
    assert (saved.tax_id, saved.tax_id_kind, saved.tax_id_state) == ("FR40303265045", "eu_vat", "pending")
    page = client.get("/settings/billing/").content.decode()
    assert "is being checked" in page
    assert "tax is charged as for a customer without one" in page

    assert ask_again() == 1
    saved.refresh_from_db()
    assert (saved.tax_id_state, saved.tax_id_source) == ("valid", "VIES")
    assert saved.consultation_number == "WAPIAAA0001"
    assert register.asked == [
        {
            "countryCode": "FR",
            "vatNumber": "40303265045",
            "requesterMemberStateCode": "DE",
            "requesterNumber": "136695976",
        }
    ]
    kept = TaxIdCheck.objects.get()
    assert (kept.name, kept.address) == ("EXAMPLE VIDEO SARL", "12 RUE DE RIVOLI 75001 PARIS")
    page = client.get("/settings/billing/").content.decode()
    assert "FR40303265045 is valid" in page
    assert "consultation number WAPIAAA0001" in page
    actions = list(AuditEntry.objects.order_by("id").values_list("action", flat=True))
    assert actions[-2:] == ["billing_profile.saved", "billing_profile.tax_id_checked"]
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        TaxIdCheck.objects.update(state="invalid")


def test_a_register_that_is_away_is_asked_again_and_an_unknown_number_is_not(
    register: Standin, owner: Customer, client: Client
) -> None:
    save(client)
    register.trouble = "MS_UNAVAILABLE"
    assert ask_again() == 0
    assert BillingProfile.objects.get().tax_id_state == "unreachable"
    assert "The register does not answer" in client.get("/settings/billing/").content.decode()
    with acting_as("worker"):
        assert profiles.check_waiting() == 0, "it waits before it asks again"
    register.trouble = "SERVICE_UNAVAILABLE"
    assert ask_again() == 0
    register.trouble = ""
    assert ask_again() == 1
    assert BillingProfile.objects.get().tax_id_state == "invalid"
    assert "is not registered" in client.get("/settings/billing/").content.decode()
    asked = len(register.asked)
    assert ask_again() == 0
    assert len(register.asked) == asked


def test_a_valid_number_stays_valid_while_the_register_is_away_and_is_asked_about_again(
    register: Standin, owner: Customer, client: Client
) -> None:
    register.known.add("FR40303265045")
    save(client)
    assert ask_again() == 1
    register.trouble = "GLOBAL_MAX_CONCURRENT_REQ"
    assert ask_again() == 0
    assert BillingProfile.objects.get().tax_id_state == "valid"
    register.trouble = ""
    register.known.clear()
    assert ask_again() == 1
    assert BillingProfile.objects.get().tax_id_state == "invalid"
    assert TaxIdCheck.objects.count() == 2


def test_an_answer_about_a_number_that_was_changed_meanwhile_is_dropped(
    register: Standin, owner: Customer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    register.known.add("FR40303265045")
    save(client)
    asked = vat.check

    def slow(tax_id: vat.TaxId) -> vat.Answer:
        answer = asked(tax_id)
        save(client, tax_id="FR23334175221")
        return answer

    with monkeypatch.context() as patched:
        patched.setattr(vat, "check", slow)
        assert profiles.check_waiting(limit=1) == 0
    saved = BillingProfile.objects.get()
    assert (saved.tax_id, saved.tax_id_state) == ("FR23334175221", "pending")
    assert not TaxIdCheck.objects.exists()


def test_without_a_register_the_check_digits_decide(owner: Customer, client: Client) -> None:
    save(client)
    assert ask_again() == 1
    saved = BillingProfile.objects.get()
    assert (saved.tax_id_state, saved.tax_id_source) == ("valid", "check digits")


def test_what_cannot_be_right_gets_one_clear_error_and_changes_nothing(owner: Customer, client: Client) -> None:
    for change, words in (
        ({"tax_id": "FR40303265046"}, "This number cannot be right"),
        ({"tax_id": "DE136695976"}, "belongs to another country"),
        ({"country": "US", "tax_id": ""}, "Choose the state"),
        ({"country": "XX"}, "Select a valid choice"),
        ({"postal_code": ""}, "have a postal code"),
        ({"invoice_email": "nobody"}, "not a whole address"),
        ({"legal_name": ""}, "Documents need the name"),
    ):
        answer = save(client, **change)
        assert answer.status_code == 422
        assert words in answer.content.decode()
    assert not BillingProfile.objects.exists()


def test_saving_twice_writes_one_entry_and_members_may_only_look(owner: Customer, client: Client) -> None:
    save(client)
    save(client)
    save(client, city="Lyon")
    entries = AuditEntry.objects.filter(action="billing_profile.saved").order_by("id")
    assert [entry.after for entry in entries][1:] == [{"city": "Lyon"}]
    member = builders.user()
    Membership.objects.create(customer=owner, user=member, role=Membership.Role.MEMBER)
    client.force_login(member)
    page = client.get("/settings/billing/").content.decode()
    assert "Example Vidéo SARL" in page
    assert "Save billing profile" not in page
    assert save(client, city="Nice").status_code == 403
    assert BillingProfile.objects.get().city == "Lyon"


def test_documents_carry_the_profile_of_their_moment(register: Standin, owner: Customer, client: Client) -> None:
    register.known.add("FR40303265045")
    save(client)
    ask_again()
    builders.top_up(owner, 50)
    first = Document.objects.get()
    save(client, legal_name="Other Name SA", line1="1 place Bellecour", tax_id="")
    first.refresh_from_db()
    buyer = first.snapshot["buyer"]
    assert (buyer["name"], buyer["address"]) == ("Example Vidéo SARL", ["12 rue de Rivoli", "75001 Paris"])
    assert buyer["tax_ids"] == [{"kind": "VAT id", "number": "FR40303265045"}]
    assert buyer["details"]["tax_id_check"]["consultation_number"] == "WAPIAAA0001"
    assert first.snapshot["payment"]["order"] == "PO-7781"
    assert DocumentMail.objects.get().to == "compta@example.fr"
    builders.top_up(owner, 50)
    second = Document.objects.exclude(pk=first.pk).get()
    assert second.snapshot["buyer"]["name"] == "Other Name SA"


def test_the_web_cannot_say_that_a_tax_id_is_valid(owner: Customer, client: Client) -> None:
    save(client)
    with acting_as("web"):
        for change in ({"tax_id_state": "valid"}, {"consultation_number": "X"}):
            with pytest.raises(Exception, match="permission denied"), transaction.atomic():
                BillingProfile.objects.update(**change)
        other = builders.customer("Other")
        with transaction.atomic():
            BillingProfile.objects.create(
                customer=other,
                updated_by=other.members.get(),
                tax_id="DE136695976",
                tax_id_kind="eu_vat",
                tax_id_state="valid",
                country="DE",
                legal_name="x",
                line1="x",
                city="x",
            )
    assert BillingProfile.objects.get(customer=other).tax_id_state == "pending"
