"""The payment provider's own SDK, pointed at the sandbox: it asks once, and no other test shares its connections."""

from collections.abc import Iterator
from typing import Any

import pytest
import stripe

from sandbox.psp.client import Psp


@pytest.fixture
def client(psp: Psp) -> Iterator[stripe.StripeClient]:
    http_client: Any = stripe.RequestsClient()
    yield stripe.StripeClient(
        psp.secret_key, base_addresses={"api": psp.url}, http_client=http_client, max_network_retries=0
    )
    http_client.close()
