"""Where a session comes from stands with it, first and last, and what its gateway calls the work."""

import json
from collections.abc import Iterator
from ipaddress import ip_network

import pytest
from django.test import Client as Browser
from pytest_django.fixtures import Settings

from accounts.models import Customer
from signing.models import SignerSession
from tests import builders
from tests.signer_stage import Client, Stage, offer, running_signer

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("static_files")]


@pytest.fixture
def stage() -> Iterator[Stage]:
    with running_signer(TRUSTED_PROXIES=(ip_network("127.0.0.1"),)) as running:
        yield running


def pay(client: Client, address: str, agent: str, **members: object) -> dict[str, str]:
    """The state that came back."""
    body = json.dumps({"orchestrator": offer(), "type": "fixed", **members}).encode()
    headers = {"X-Forwarded-For": address, "User-Agent": agent}
    answer = client.request("POST", "/generate-live-payment", body, headers)
    assert answer.status == 200, answer.body
    state: dict[str, str] = answer.json["state"]
    return state


def session_of(owner: Customer) -> SignerSession:
    return SignerSession.objects.get(customer_id=owner.pk)


def test_a_session_keeps_its_first_and_its_last_origin(stage: Stage) -> None:
    client, owner = stage.gateway()
    state = pay(client, "1.1.1.1, 203.0.113.9", "gateway/1", gatewayRequestId="job-7", attributionSource="portal")
    row = session_of(owner)
    assert (row.client_ip, row.user_agent) == (row.last_client_ip, row.last_user_agent) == ("203.0.113.9", "gateway/1")
    assert (row.gateway_request_id, row.attribution_source) == ("job-7", "portal")
    pay(client, "2001:db8::1", "gateway/2", state=state, ManifestID="m")
    row = session_of(owner)
    assert (row.client_ip, row.user_agent) == ("203.0.113.9", "gateway/1")
    assert (row.last_client_ip, row.last_user_agent) == ("2001:db8::1", "gateway/2")
    assert (row.gateway_request_id, row.attribution_source) == ("job-7", "portal")


@pytest.mark.parametrize("given", [7, None, {"a": 1}, "", "x" * 5_000, "a\x00b\u0007\ud83d"])
def test_whatever_a_gateway_calls_its_work_is_bounded_and_never_a_reason_to_refuse(stage: Stage, given: object) -> None:
    client, owner = stage.gateway()
    pay(client, "203.0.113.9", "a" * 5_000, gatewayRequestId=given, attributionSource=given)
    row = session_of(owner)
    assert len(row.gateway_request_id) <= 128
    assert len(row.attribution_source) <= 64
    assert row.gateway_request_id.isprintable()
    assert row.user_agent == "a" * 200


def test_sessions_of_a_batch_keep_their_own_origins(stage: Stage) -> None:
    client, owner = stage.gateway()
    answers = client.pay_all(
        [{"orchestrator": offer(), "type": "fixed", "gatewayRequestId": f"job-{number}"} for number in range(12)]
    )
    assert {answer.status for answer in answers} == {200}
    found = SignerSession.objects.filter(customer_id=owner.pk).values_list("gateway_request_id", "client_ip")
    assert set(found) == {(f"job-{number}", "127.0.0.1") for number in range(12)}


def test_the_same_request_from_elsewhere_is_still_the_same_request(stage: Stage) -> None:
    client, owner = stage.gateway()
    given = offer()
    first = pay(client, "203.0.113.9", "gateway/1", orchestrator=given, gatewayRequestId="a")
    assert pay(client, "203.0.113.10", "gateway/2", orchestrator=given, gatewayRequestId="b") == first
    assert session_of(owner).client_ip == "203.0.113.9"


def test_staff_see_where_a_session_came_from(stage: Stage, settings: Settings) -> None:
    settings.STAFF_MFA_REQUIRED = False
    client, owner = stage.gateway()
    pay(client, "203.0.113.9", "gateway/1", gatewayRequestId="job-7")
    person = builders.user()
    person.is_staff = person.is_superuser = True
    person.save()
    browser = Browser()
    browser.force_login(person)
    page = browser.get(f"/staff/signing/signersession/{session_of(owner).pk}/change/").content.decode()
    for text in ("203.0.113.9", "gateway/1", "job-7"):
        assert text in page
