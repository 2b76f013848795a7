"""Stories of API keys: issued, shown once, used, renamed and revoked."""

import base64
import hashlib
import json
import re
import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory
from rest_framework.views import APIView

from accounts import api_keys, authentication, keys
from accounts.models import ApiKey, AuditEntry, Customer, User
from tests import builders


def _owner(customer: Customer) -> tuple[User, Client]:
    user = customer.members.get()
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return user, client


def _at_once(work: list[object]) -> list[object]:
    """Runs callables in threads that start together; their results or exceptions, in any order."""
    together, results = threading.Barrier(len(work)), []

    def run(call: object) -> None:
        together.wait()
        try:
            results.append(call())  # type: ignore[operator]
        except Exception as error:
            results.append(error)
        connection.close()

    threads = [threading.Thread(target=run, args=(call,)) for call in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_a_key_is_a_mark_eight_characters_and_a_256_bit_secret() -> None:
    issued = [api_keys.issue() for _ in range(200)]

    for key in issued:
        assert re.fullmatch("ch_live_[a-z0-9]{8}_[A-Za-z0-9_-]{43}", key.text)
        assert key.text.startswith(key.prefix + "_")
        assert len(key.prefix) == 16
        assert len(base64.urlsafe_b64decode(key.text[17:] + "=")) == 32
        assert key.secret_sha256 == hashlib.sha256(key.text.encode()).digest()
    assert len({key.text for key in issued}) == 200


@pytest.mark.django_db
def test_a_new_key_is_shown_once_and_kept_only_as_a_digest(client: Client) -> None:
    customer = builders.customer()
    _, client = _owner(customer)

    answer = client.post("/keys/new/", {"name": "gw-fra-1"})

    assert answer.status_code == 201
    assert "no-store" in answer.headers["Cache-Control"]
    text = answer.context["issued"].text
    assert text in answer.content.decode()
    key = ApiKey.objects.get()
    assert bytes(key.secret_sha256) == hashlib.sha256(text.encode()).digest()
    token = json.loads(base64.b64decode(answer.context["sdk_token"]))
    assert token["signer_headers"] == {"Authorization": f"Bearer {text}"}
    for page in ("/keys/", f"/keys/{key.pk}/"):
        shown = client.get(page).content.decode()
        assert key.prefix in shown
        assert text not in shown
    entry = AuditEntry.objects.get(action="api_key.created")
    assert text not in json.dumps([entry.before, entry.after])


@pytest.mark.django_db
def test_the_form_sent_twice_makes_one_key_and_says_why(client: Client) -> None:
    _, client = _owner(builders.customer())
    client.post("/keys/new/", {"name": "gw-fra-1"})
    again = client.post("/keys/new/", {"name": "gw-fra-1"})

    assert again.status_code == 422
    assert "An active key has this name already." in again.content.decode()
    assert ApiKey.objects.count() == 1
    assert client.post("/keys/new/", {"name": "gw fra 1"}).status_code == 422


@pytest.mark.django_db(transaction=True)
def test_the_same_name_at_once_makes_one_key() -> None:
    customer = builders.customer()
    user = customer.members.get()

    results = _at_once([lambda: keys.create(customer=customer, user=user, name="gw-1")] * 8)

    assert sum(isinstance(result, tuple) for result in results) == 1
    assert sum(isinstance(result, keys.NameTaken) for result in results) == 7
    assert ApiKey.objects.count() == AuditEntry.objects.filter(action="api_key.created").count() == 1


@pytest.mark.django_db(transaction=True)
def test_the_most_keys_hold_when_many_are_made_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "MOST_ACTIVE_KEYS", 3)
    customer = builders.customer()
    user = customer.members.get()

    def make(number: int) -> object:
        return lambda: keys.create(customer=customer, user=user, name=f"gw-{number}")

    results = _at_once([make(number) for number in range(8)])

    assert sum(isinstance(result, keys.TooManyKeys) for result in results) == 5
    assert ApiKey.objects.count() == 3


@pytest.mark.django_db
def test_a_revoked_key_stays_listed_and_its_name_is_free_again(static_files: None) -> None:
    customer = builders.customer()
    user, client = _owner(customer)
    client.post("/keys/new/", {"name": "gw-1"})
    key = ApiKey.objects.get()

    assert client.post(f"/keys/{key.pk}/revoke/", {"typed": "gw-2"}).status_code == 422
    assert client.post(f"/keys/{key.pk}/revoke/", {"typed": "gw-1"}).status_code == 302

    key.refresh_from_db()
    assert key.revoked_at is not None
    assert key.revoked_by == user
    assert "Revoked" in client.get("/keys/").content.decode()
    assert client.post("/keys/new/", {"name": "gw-1"}).status_code == 201
    assert client.post(f"/keys/{key.pk}/", {"name": "gw-9"}).status_code == 422


@pytest.mark.django_db(transaction=True)
def test_revoking_at_once_happens_once() -> None:
    customer = builders.customer()
    user = customer.members.get()
    key, _ = keys.create(customer=customer, user=user, name="gw-1")

    results = _at_once([lambda: keys.revoke(key, user=user)] * 6)

    assert sorted(map(bool, results)) == [False] * 5 + [True]
    assert AuditEntry.objects.filter(action="api_key.revoked").count() == 1


@pytest.mark.django_db
def test_a_key_is_renamed_with_a_trace_and_never_to_a_name_in_use(static_files: None) -> None:
    _, client = _owner(builders.customer())
    for name in ("gw-1", "gw-2"):
        client.post("/keys/new/", {"name": name})
    first = ApiKey.objects.get(name="gw-1")

    assert client.post(f"/keys/{first.pk}/", {"name": "gw-2"}).status_code == 422
    for _ in range(2):
        assert client.post(f"/keys/{first.pk}/", {"name": "gw-3"}).status_code == 302

    entry = AuditEntry.objects.get(action="api_key.renamed")
    assert (entry.before, entry.after) == ({"name": "gw-1"}, {"name": "gw-3"})


class _WhoAmI(APIView):
    authentication_classes = (authentication.ApiKeyAuthentication,)
    permission_classes = (authentication.HasCustomer,)

    def get(self, request: Request) -> Response:
        return Response({"customer": authentication.customer_of(request).pk})


def _ask(authorization: str | None) -> Response:
    headers = {"Authorization": authorization} if authorization else None
    answer: Response = _WhoAmI.as_view()(APIRequestFactory().get("/", headers=headers))
    return answer


@pytest.mark.django_db
def test_the_api_knows_a_customer_by_its_key() -> None:
    customer = builders.customer()
    key, issued = keys.create(customer=customer, user=customer.members.get(), name="gw-1")

    answer = _ask(f"Bearer {issued.text}")

    assert (answer.status_code, answer.data) == (200, {"customer": customer.pk})
    key.refresh_from_db()
    assert key.last_used_at is not None


@pytest.mark.django_db
def test_use_is_written_down_once_a_minute() -> None:
    customer = builders.customer()
    key, issued = keys.create(customer=customer, user=customer.members.get(), name="gw-1")
    earlier = timezone.now() - timedelta(seconds=30)
    ApiKey.objects.filter(pk=key.pk).update(last_used_at=earlier)

    _ask(f"Bearer {issued.text}")

    key.refresh_from_db()
    assert key.last_used_at == earlier


@pytest.mark.django_db
def test_the_api_refuses_whoever_has_no_working_key() -> None:
    customer = builders.customer()
    user = customer.members.get()
    key, issued = keys.create(customer=customer, user=user, name="gw-1")

    for authorization in (None, "Bearer ", "Bearer nonsense", f"Basic {issued.text}", f"Bearer {issued.text}x"):
        answer = _ask(authorization)
        assert answer.status_code == 401, authorization
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="api"'
    keys.revoke(key, user=user)
    assert _ask(f"Bearer {issued.text}").status_code == 401


@pytest.mark.django_db
def test_a_closed_account_has_no_api() -> None:
    customer = builders.customer()
    _, issued = keys.create(customer=customer, user=customer.members.get(), name="gw-1")
    Customer.objects.filter(pk=customer.pk).update(status=Customer.Status.CLOSED)

    assert _ask(f"Bearer {issued.text}").status_code == 403
