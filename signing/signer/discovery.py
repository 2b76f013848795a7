"""Which orchestrators a gateway may turn to: the active set with its service addresses, in stake order."""

import json
from urllib.parse import urlsplit

from signing.chain.view import ChainView
from signing.signer.refusals import Unavailable


def list_orchestrators(view: ChainView) -> bytes:
    """The JSON answer. Raises Unavailable when nobody with a usable address is registered.

    Every address is listed whatever the query's caps, app or gpu say: clients filter again themselves.
    """
    listed = dict.fromkeys(uri.rstrip("/") for _, uri in view.orchestrators if _is_address(uri))
    if not listed:
        raise Unavailable("no_orchestrators", "no orchestrator is known yet")
    return json.dumps([{"address": uri, "score": 1} for uri in listed]).encode()


def _is_address(uri: str) -> bool:
    try:
        parts = urlsplit(uri)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 443) > 0
    except ValueError:
        return False
