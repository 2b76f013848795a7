"""Price ceilings and markups as the signer keeps them: each trips just above, and counts from its moment on."""

import base64
import time
from collections.abc import Callable
from datetime import timedelta
from fractions import Fraction
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from accounts.models import ApiKey, Customer, User
from billing.models import Markup
from signing.models import PriceCeiling
from signing.pm import livepeer_pb2 as pb
from tests import builders
from tests.held_chain import RATE
from tests.signer_stage import COST, Answer, Client, offer, rows, running_signer

pytestmark = pytest.mark.django_db(transaction=True)
CREDIT = 10**12
MODEL = "noop"
CAPABILITY = 35


def until(answer: Callable[[], Any], wanted: Any) -> None:
    """Rows count within two seconds."""
    deadline = time.monotonic() + 2
    while (given := answer()) != wanted:
        assert time.monotonic() < deadline, given
        time.sleep(0.02)


def capabilities() -> str:
    given = pb.Capabilities()
    given.constraints.per_capability[CAPABILITY].models[MODEL].warm = True
    return base64.b64encode(given.SerializeToString()).decode()


def ask(client: Client, price: tuple[int, int], kind: str = "fixed", **members: Any) -> Answer:
    return client.pay(orchestrator=offer(price=price), type=kind, **members)


def ceiling(*, made_by: User | None = None, **given: Any) -> PriceCeiling:
    values = {"unit": "job", "per_units": 1, **given}
    return PriceCeiling.objects.create(made_by=made_by or builders.user(), **values)


def scopes(owner: Customer) -> dict[str, dict[str, Any]]:
    return {
        "configured maximum price": {"scope": "global"},
        "account maximum price": {"scope": "customer", "customer": owner},
        "API key maximum price": {"scope": "api_key", "api_key": ApiKey.objects.get(customer=owner)},
    }


@pytest.mark.parametrize("source", ["configured maximum price", "account maximum price", "API key maximum price"])
def test_a_ceiling_lets_its_own_price_pass_and_nothing_above(source: str) -> None:
    with running_signer() as stage:
        client, owner = stage.gateway(dollars_nano=CREDIT)
        other, _ = stage.gateway(dollars_nano=CREDIT)
        ceiling(**scopes(owner)[source], limit_wei=1_001, per_units=2)
        until(lambda: ask(client, (1_002, 2)).status, 481)
        refused = ask(client, (1_002, 2))
        assert refused.code == "price_above_ceiling"
        paid = len(rows(owner))
        assert refused.json["error"]["message"] == f"orchestrator price 501.000 exceeds {source} ceiling 500.500"
        assert ask(client, (1_001, 2)).status == 200
        assert ask(other, (1_002, 2)).status == (481 if source.startswith("configured") else 200)
        assert len(rows(owner)) == paid + 1


def test_an_answer_that_was_lost_before_a_ceiling_fell_is_still_given() -> None:
    with running_signer() as stage:
        client, owner = stage.gateway(dollars_nano=CREDIT)
        opening = {"orchestrator": offer(price=(1_002, 2)), "type": "fixed"}
        opened = client.pay(**opening)
        follow_up = {"orchestrator": offer(price=(1_002, 2)), "type": "fixed", "ManifestID": "m"}
        followed = client.pay(state=opened.json["state"], **follow_up)
        lone = {"orchestrator": offer(price=(1_002, 2)), "type": "fixed"}
        paid_alone = client.pay(**lone)
        ceiling(scope="global", limit_wei=1_001, per_units=2)
        until(lambda: ask(client, (1_002, 2)).status, 481)
        paid = len(rows(owner))
        assert client.pay(state=opened.json["state"], **follow_up).body == followed.body
        assert client.pay(**lone).body == paid_alone.body
        assert client.pay(state=followed.json["state"], **follow_up).status == 481
        assert len(rows(owner)) == paid


def test_a_ceiling_in_dollars_is_wei_at_the_recorded_rate() -> None:
    with running_signer() as stage:
        client, owner = stage.gateway(dollars_nano=CREDIT)
        limit_nano = 3_000  # at 3,000 USD per ETH a nano-dollar is 10**9 / 3,000 wei
        ceiling(scope="customer", customer=owner, limit_nano_usd=limit_nano)
        exact = limit_nano * 10**18 // RATE
        assert exact == 10**9
        until(lambda: ask(client, (exact + 1, 1)).status, 481)
        assert ask(client, (exact, 1)).status == 200
        # The same dollars are half as much ether when ether is worth twice as much.
        view = stage.chain.view()
        rate = type(view.rate)(
            feed_address=view.rate.feed_address,
            feed_round=view.rate.feed_round + 1,
            nano_usd_per_eth=2 * RATE,
            updated_at=view.rate.updated_at,
        )
        stage.chain.change(rate=rate)
        assert ask(client, (exact, 1)).status == 481
        assert ask(client, (exact // 2, 1)).status == 200


def test_a_ceiling_per_second_is_for_live_work_and_one_per_pixel_for_pixels() -> None:
    with running_signer() as stage:
        client, _ = stage.gateway(dollars_nano=CREDIT)
        ceiling(scope="global", unit="pixel", limit_wei=5)
        ceiling(scope="global", unit="second", limit_wei=100)
        until(lambda: ask(client, (101, 1), "live").status, 481)
        assert ask(client, (100, 1), "live").status == 200
        assert ask(client, (6, 1), "lv2v").status == 481
        assert ask(client, (5, 1), "lv2v").status == 200
        assert ask(client, (6, 1), "", inPixels=10).status == 481
        assert ask(client, (5, 1), "", inPixels=10).status == 200
        assert ask(client, (10**9, 1), "fixed").status == 200


def test_a_capability_s_ceiling_permits_more_than_the_one_for_everything_where_it_is_asked_for() -> None:
    with running_signer(MAX_PRICE_PER_UNIT=Fraction(500)) as stage:
        client, _ = stage.gateway(dollars_nano=CREDIT)
        named = {"capabilities": capabilities()}
        assert ask(client, (600, 1), **named).status == 481
        ceiling(scope="capability", capability=CAPABILITY, model=MODEL, limit_wei=700)
        until(lambda: ask(client, (700, 1), **named).status, 200)
        assert ask(client, (701, 1), **named).status == 481
        assert ask(client, (501, 1)).status == 481
        assert ask(client, (500, 1)).status == 200
        ceiling(scope="capability", capability=CAPABILITY, model=MODEL, limit_wei=200)
        until(lambda: ask(client, (300, 1), **named).status, 481)
        assert ask(client, (300, 1)).status == 200
        ceiling(scope="capability", capability=CAPABILITY, model=MODEL)
        until(lambda: ask(client, (300, 1), **named).status, 200)


def test_the_smallest_ceiling_decides_and_the_first_of_equals_is_named() -> None:
    with running_signer(MAX_PRICE_PER_UNIT=Fraction(500)) as stage:
        client, owner = stage.gateway(dollars_nano=CREDIT)
        given = scopes(owner)
        request = {"price": 500, "currency": "wei", "unit": "fixed"}

        def named() -> str:
            return str(ask(client, (501, 1), maxPrice=request).json["error"]["message"].split(" exceeds ")[1])

        assert named() == "configured maximum price ceiling 500.000"
        ceiling(**given["API key maximum price"], limit_wei=400)
        until(named, "API key maximum price ceiling 400.000")
        ceiling(**given["account maximum price"], limit_wei=400)
        until(named, "account maximum price ceiling 400.000")
        request["price"] = 399
        assert named() == "request maxPrice ceiling 399.000"


def test_a_ceiling_of_the_future_waits_for_its_moment() -> None:
    with running_signer() as stage:
        client, owner = stage.gateway(dollars_nano=CREDIT)
        ceiling(scope="customer", customer=owner, limit_wei=10, valid_from=timezone.now() + timedelta(hours=1))
        ceiling(scope="customer", customer=owner, limit_wei=100)
        until(lambda: ask(client, (101, 1)).status, 481)
        assert ask(client, (100, 1)).status == 200
        staff = builders.user()
        moment = timezone.now() + timedelta(seconds=1.5)
        ceiling(scope="customer", customer=owner, limit_wei=10, valid_from=moment, made_by=staff)
        asked_at = timezone.now()
        while ask(client, (100, 1)).status == 200:
            assert asked_at < moment + timedelta(seconds=2)
            time.sleep(0.02)
            asked_at = timezone.now()
        assert timezone.now() >= moment


# -- markups ---------------------------------------------------------------------------------------------------------


def markup(bps: int | None, owner: Customer | None = None, **given: Any) -> Markup:
    return Markup.objects.create(bps=bps, customer=owner, reason="agreed", made_by=builders.user(), **given)


def last_markup(client: Client, owner: Customer) -> int:
    assert ask(client, (1, 1)).status == 200
    return int(rows(owner)[-1]["markup_bps"])


def test_a_customer_pays_his_own_markup_else_the_default_else_the_setting_s() -> None:
    with running_signer(MARKUP_BPS=1_500) as stage:
        client, owner = stage.gateway(dollars_nano=CREDIT)
        other, other_owner = stage.gateway(dollars_nano=CREDIT)
        assert last_markup(client, owner) == 1_500
        markup(2_000)
        until(lambda: last_markup(client, owner), 2_000)
        markup(0, owner)
        until(lambda: last_markup(client, owner), 0)
        assert rows(owner)[-1]["charge_nano_usd"] == rows(owner)[-1]["cost_nano_usd"] == -(-COST * RATE // 10**18)
        assert last_markup(other, other_owner) == 2_000
        markup(None, owner)
        until(lambda: last_markup(client, owner), 2_000)
        markup(None)
        until(lambda: last_markup(client, owner), 1_500)


def test_a_markup_of_the_future_waits_for_its_moment() -> None:
    with running_signer(MARKUP_BPS=1_500) as stage:
        client, owner = stage.gateway(dollars_nano=CREDIT)
        begins = timezone.now() + timedelta(seconds=2.5)
        markup(100, owner, valid_from=begins)
        markup(300, owner)
        until(lambda: last_markup(client, owner), 300)
        asked_at = timezone.now()
        while last_markup(client, owner) != 100:
            assert asked_at < begins + timedelta(seconds=2)
            time.sleep(0.02)
            asked_at = timezone.now()
        # A payment that was priced just before may be committed just after.
        latest = {bps: max(row["at"] for row in rows(owner) if row["markup_bps"] == bps) for bps in (100, 300)}
        earliest = min(row["at"] for row in rows(owner) if row["markup_bps"] == 100)
        assert begins <= earliest
        assert latest[300] < begins + timedelta(seconds=2)


def test_markups_and_ceilings_are_written_once_and_never_for_the_past() -> None:
    markup(100)
    ceiling(scope="global", limit_wei=1)
    for statement in (
        "UPDATE billing_markup SET bps = 1",
        "DELETE FROM billing_markup",
        "UPDATE signing_priceceiling SET limit_wei = 2",
        "DELETE FROM signing_priceceiling",
    ):
        with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)
    owner = builders.customer()
    past = timezone.now() - timedelta(minutes=1)
    bad: list[Callable[[], object]] = [
        lambda: markup(100, valid_from=past),
        lambda: markup(100_001),
        lambda: ceiling(scope="global", limit_wei=1, valid_from=past),
        lambda: ceiling(scope="global", limit_wei=1, limit_nano_usd=1),
        lambda: ceiling(scope="global", limit_wei=0),
        lambda: ceiling(scope="global", limit_wei=1, per_units=0),
        lambda: ceiling(scope="global", limit_wei=1, customer=owner),
        lambda: ceiling(scope="customer", limit_wei=1),
        lambda: ceiling(scope="capability", limit_wei=1),
    ]
    for write in bad:
        with pytest.raises(IntegrityError), transaction.atomic():
            write()
