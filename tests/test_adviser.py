"""The adviser: tickets too large or too small for their payments are told to customer and staff, fitting ones never."""

from fractions import Fraction

import pytest
from django.test import Client as Browser
from hypothesis import given
from hypothesis import strategies as st
from pytest_django.fixtures import Settings

from signing import advice
from signing.models import SignerSession
from signing.pm.adviser import Misfit, advise
from tests.signer_stage import ORCHESTRATOR, offer, running_signer
from tests.treasury_stage import SENDER, snapshot, staff_member

PIXELS = 1280 * 720 * 30


def test_a_ticket_that_lasts_minutes_is_too_large_and_one_just_below_fits() -> None:
    told = advise(expected_value_wei=Fraction(1_200), kind="live", price_per_unit=Fraction(10), tickets=[1])
    assert told
    assert (told.misfit, told.seconds, told.fitting_wei) == (Misfit.TOO_LARGE, 120, 300)
    assert advise(expected_value_wei=Fraction(1_199), kind="live", price_per_unit=Fraction(10), tickets=[1]) is None
    video = advise(expected_value_wei=Fraction(PIXELS * 240), kind="lv2v", price_per_unit=Fraction(1), tickets=[1])
    assert video
    assert video.seconds == 240


def test_more_than_fifty_tickets_a_payment_are_too_small_and_fifty_fit() -> None:
    told = advise(expected_value_wei=Fraction(7), kind="", price_per_unit=Fraction(1), tickets=[3, 51, 50])
    assert told
    assert (told.misfit, told.tickets, told.seconds, told.fitting_wei) == (Misfit.TOO_SMALL, 51, None, 119)
    assert advise(expected_value_wei=Fraction(7), kind="", price_per_unit=Fraction(1), tickets=[50]) is None


def test_nothing_is_said_of_jobs_and_of_nothing() -> None:
    assert advise(expected_value_wei=Fraction(10**12), kind="fixed", price_per_unit=Fraction(1), tickets=[1]) is None
    assert advise(expected_value_wei=Fraction(10**12), kind="live", price_per_unit=Fraction(0), tickets=[]) is None


@given(wei=st.integers(1, 10**15), price=st.integers(1, 10**12), tickets=st.integers(1, 100))
def test_whoever_follows_the_advice_gets_none_again(wei: int, price: int, tickets: int) -> None:
    found = advise(expected_value_wei=Fraction(wei), kind="live", price_per_unit=Fraction(price), tickets=[tickets])
    if found is None:
        return
    needed = -(-wei * tickets // found.fitting_wei) if found.misfit is Misfit.TOO_SMALL else 1
    again = advise(
        expected_value_wei=Fraction(found.fitting_wei),
        kind="live",
        price_per_unit=Fraction(price),
        tickets=[needed],
    )
    assert again is None or (found.misfit, again.misfit) == (Misfit.TOO_SMALL, Misfit.TOO_LARGE)


@pytest.mark.django_db(transaction=True)
def test_customer_and_staff_read_it_with_its_figures(client: Browser, settings: Settings) -> None:
    settings.SENDER_ADDRESS, settings.STAFF_MFA_REQUIRED = SENDER, False
    with running_signer() as stage:
        gateway, owner = stage.gateway(dollars_nano=10**12)
        other, other_owner = stage.gateway(dollars_nano=10**12)
        # 10**12 wei a ticket: 1,000 seconds at 10**9 wei a second, and 60 tickets where each is worth 10**10.
        assert gateway.pay(orchestrator=offer(price=(10**9, 1)), type="live").status == 200
        small = offer(price=(6 * 10**11, 1), face_value=10**13)
        assert other.pay(orchestrator=small, type="fixed").status == 200
    orchestrator = "0x" + ORCHESTRATOR.hex()
    large, tiny = advice.of_pair(owner.pk, orchestrator), advice.of_pair(other_owner.pk, orchestrator)
    assert large
    assert tiny
    assert large.title.startswith("One ticket pays 16 m")
    assert tiny.title.startswith("One payment took 6")
    assert advice.of_pair(owner.pk, "0x" + "77" * 20) is None
    client.force_login(owner.members.get())
    session = SignerSession.objects.get(customer=owner)
    page = client.get(f"/usage/{session.id}/").content.decode()
    assert large.title in page
    snapshot()
    client.force_login(staff_member())
    page = client.get("/treasury/").content.decode()
    assert large.title in page
    assert tiny.title in page
    assert owner.name in page
