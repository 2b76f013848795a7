"""The REST API: who may read what, exact numbers as text, pages that miss and repeat nothing."""

import csv
import io
import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from accounts import keys
from accounts.models import ApiKey, Customer, Membership
from billing.models import Usage
from tests import builders

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("one_day")]
PATHS = ["balance", "usage", "statements", "top-ups"]


@pytest.fixture
def key(payer: Customer) -> str:
    return keys.create(customer=payer, user=payer.members.get(), name="gateway")[1].text


def get(client: Client, path: str, key: str = "", /, **query: Any) -> Any:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return client.get(f"/api/v1/{path}", query, headers=headers)


def this_month() -> str:
    return f"{timezone.now():%Y-%m}"


@pytest.mark.parametrize("path", [*PATHS, "statements/2026-11", "statements/2026-11.csv", "statements/2026-11.pdf"])
def test_without_a_good_key_or_a_session_nothing_is_told(client: Client, payer: Customer, key: str, path: str) -> None:
    path = path.replace("2026-11", this_month())
    ApiKey.objects.create(customer=payer, name="old", prefix="ch_live_revoked0", secret_sha256=b"x" * 32)
    revoked = keys.create(customer=payer, user=payer.members.get(), name="revoked")[1].text
    ApiKey.objects.filter(name="revoked").update(revoked_at=timezone.now())
    for bad in ("", "ch_live_unknown0_" + "a" * 43, revoked, key[:-1], key.upper(), "nonsense"):
        answer = get(client, path, bad)
        assert answer.status_code == 401, bad
        assert set(answer.json()["error"]) >= {"message", "code"}
        assert answer.headers["Content-Type"] == "application/json"
    assert get(client, path, key).status_code == 200


def test_a_session_reads_what_its_account_may_and_staff_without_a_seat_nothing(client: Client, payer: Customer) -> None:
    builders.top_up(payer, 25)
    client.force_login(payer.members.get())
    assert get(client, "balance").json()["available_usd"] == "25.000000000"
    assert [get(client, path).status_code for path in PATHS] == [200] * 4
    staff = builders.user()
    staff.is_staff = True
    staff.save()
    client.force_login(staff)
    assert [get(client, path).status_code for path in PATHS] == [403] * 4


def test_a_wrong_key_beside_a_good_session_is_still_refused(client: Client, payer: Customer) -> None:
    client.force_login(payer.members.get())
    assert get(client, "balance", "ch_live_unknown0_" + "a" * 43).status_code == 401


def test_a_key_reads_its_own_account_only(client: Client, payer: Customer, key: str) -> None:
    other = builders.customer("Other")
    builders.top_up(other, 500)
    theirs = builders.debit(other, cost_wei=10**15)
    assert get(client, "balance", key).json()["available_nano_usd"] == "0"
    assert get(client, "usage", key).json() == {"data": [], "next_cursor": None}
    assert get(client, "top-ups", key).json() == {"data": []}
    prefix = other.api_keys.get().prefix
    refused = get(client, "usage", key, key=prefix)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid")
    session = Usage.objects.get(id=theirs).source
    assert get(client, "usage", key, session=str(session)).json()["data"] == []
    assert get(client, f"statements/{this_month()}", key).json()["closing_nano_usd"] == "0"


def test_a_member_of_two_accounts_reads_the_one_that_is_chosen(client: Client, payer: Customer) -> None:
    second = builders.customer("Second")
    builders.top_up(second, 9)
    user = payer.members.get()
    Membership.objects.create(customer=second, user=user, role=Membership.Role.MEMBER)
    client.force_login(user)
    assert get(client, "balance").json()["available_nano_usd"] == "0"
    client.post(f"/settings/account/{second.pk}/")
    assert get(client, "balance").json()["available_usd"] == "9.000000000"


def test_charges_come_newest_first_and_each_once_while_new_ones_arrive(
    client: Client, payer: Customer, key: str
) -> None:
    builders.top_up(payer, 100)
    made = [builders.debit(payer, cost_wei=10**12 + n) for n in range(7)]
    seen, cursor = [], None
    while True:
        page = get(client, "usage", key, limit=3, **({"cursor": cursor} if cursor else {})).json()
        seen += [int(charge["id"]) for charge in page["data"]]
        builders.debit(payer, cost_wei=10**12)
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == made[::-1]


def test_numbers_larger_than_a_reader_can_hold_arrive_exactly(client: Client, payer: Customer, key: str) -> None:
    builders.top_up(payer, 9_000)
    wei = 2 * 10**18 + 1
    builders.debit(payer, cost_wei=wei)
    [charge] = get(client, "usage", key).json()["data"]
    assert charge["expected_value_wei"] == str(wei)
    assert charge["charge_usd"] == "6900.000000001"
    assert charge["charge_nano_usd"] == "6900000000001"
    assert charge["eth_usd"] == "3000.000000000"
    balance = get(client, "balance", key).json()["available_nano_usd"]
    assert int(balance) == 9_000 * 10**9 - 6_900_000_000_001


def test_filters_hold_from_inclusive_to_exclusive_and_by_key_and_session(
    client: Client, payer: Customer, key: str
) -> None:
    builders.top_up(payer, 100)
    one, two = (builders.debit(payer, cost_wei=10**12) for _ in range(2))
    first, second = (Usage.objects.select_related("api_key").get(id=id) for id in (one, two))

    def ids(**query: Any) -> list[int]:
        answer = get(client, "usage", key, **query)
        assert answer.status_code == 200, answer.content
        return [int(charge["id"]) for charge in answer.json()["data"]]

    assert ids(**{"from": second.at.isoformat()}) == [two]
    assert ids(to=second.at.isoformat()) == [one]
    assert ids(**{"from": f"{first.at:%Y-%m-%d}"}) == [two, one]
    assert ids(**{"from": (timezone.now() + timedelta(days=1)).isoformat()}) == []
    assert ids(session=str(first.source)) == [one]
    assert ids(session=str(uuid.uuid4())) == []
    assert ids(key=first.api_key.prefix) == [two, one]


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"},
        {"limit": "1001"},
        {"limit": "NaN"},
        {"cursor": "-1"},
        {"cursor": str(2**63)},
        {"cursor": "1e3"},
        {"from": "yesterday"},
        {"from": "2026-13-01"},
        {"session": "1"},
        {"key": "ch_live_nobody00"},
        {"key": "x" * 17},
    ],
)
def test_a_question_that_makes_no_sense_is_told_so(client: Client, key: str, query: dict[str, str]) -> None:
    answer = get(client, "usage", key, **query)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid"
    assert set(answer.json()["error"]["fields"]) == set(query)


def test_a_month_comes_as_json_csv_and_pdf_by_suffix_parameter_or_accept(
    client: Client, payer: Customer, key: str
) -> None:
    builders.top_up(payer, 100)
    builders.debit(payer, cost_wei=10**15)
    month = this_month()
    body = get(client, f"statements/{month}", key).json()
    total = int(body["opening_nano_usd"]) + int(body["top_ups_nano_usd"]) - int(body["charge_nano_usd"])
    assert total == int(body["closing_nano_usd"])
    assert sum(int(line["charge_nano_usd"]) for line in body["usage"]) == int(body["charge_nano_usd"])
    assert get(client, "statements", key).json()["data"][0]["closing_nano_usd"] == body["closing_nano_usd"]

    files: list[Any] = [
        get(client, f"statements/{month}.csv", key),
        get(client, f"statements/{month}", key, format="csv"),
        client.get(f"/api/v1/statements/{month}", headers={"authorization": f"Bearer {key}", "accept": "text/csv"}),
    ]
    for answer in files:
        assert answer.headers["Content-Type"].startswith("text/csv")
        rows = list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode())))
        assert rows[-1]["balance_usd"].replace(".", "") == body["closing_nano_usd"]
    for answer in (get(client, f"statements/{month}.pdf", key), get(client, f"statements/{month}", key, format="pdf")):
        assert answer.content.startswith(b"%PDF-")


@pytest.mark.parametrize("path", ["statements/2026-13", "statements/1999-01", "statements/2024-01", "nothing"])
def test_what_is_not_there_is_404(client: Client, key: str, path: str) -> None:
    assert get(client, path, key).status_code == 404


def test_a_missing_month_as_a_file_is_an_error_in_json(client: Client, key: str) -> None:
    answer = get(client, "statements/2024-01.pdf", key)
    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "application/json")
    assert answer.json()["error"]["code"] == "not_found"


def test_usage_as_csv_is_everything_that_matches(client: Client, payer: Customer, key: str) -> None:
    builders.top_up(payer, 100)
    for n in range(5):
        builders.debit(payer, cost_wei=10**12 + n)
    answer = get(client, "usage", key, format="csv", limit=2)
    rows = list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode())))
    assert [int(row["cost_wei"]) for row in rows] == [10**12 + n for n in (4, 3, 2, 1, 0)]


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_the_api_changes_nothing(client: Client, key: str, method: str) -> None:
    for path in PATHS:
        answer = getattr(client, method)(f"/api/v1/{path}", headers={"authorization": f"Bearer {key}"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (405, "method_not_allowed")


def test_the_schema_is_openapi_31_and_names_every_door(client: Client) -> None:
    answer = client.get("/api/v1/schema/", headers={"accept": "application/vnd.oai.openapi+json"})
    schema = json.loads(answer.content)
    assert schema["openapi"].startswith("3.1")
    assert {"/api/v1/balance", "/api/v1/usage", "/api/v1/statements", "/api/v1/statements/{month}"} <= set(
        schema["paths"]
    )
    assert "apiKey" in schema["components"]["securitySchemes"]
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", "/dev/null")


def test_the_documentation_needs_nothing_from_elsewhere(client: Client) -> None:
    answer = client.get("/api/v1/docs/")
    page = answer.content.decode()
    assert answer.status_code == 200
    assert "/api/v1/usage" in page
    assert "next_cursor" in page
    assert "charge_nano_usd" in page
    for word in ('src="http', 'href="http', "cdn"):
        assert word not in page


def test_a_statement_of_a_month_that_is_over_is_final(client: Client, payer: Customer, key: str) -> None:
    Customer.objects.filter(pk=payer.pk).update(created_at=datetime(2026, 1, 5, tzinfo=UTC))
    assert get(client, "statements/2026-01", key).json()["final"] is True
    assert get(client, f"statements/{this_month()}", key).json()["final"] is False
