"""The gate before every door: whose key it is, from where it comes, and whether it comes too often."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from accounts.client_address import Networks, client_address, neighbourhood
from signing.signer.authentication import Authentication, Caller, NotAuthenticated, digest_of
from signing.signer.refusals import Refused
from signing.signer.request_rates import Buckets

_SECONDS_OF_BURST = 2
_LONGEST_USER_AGENT = 200
_LONGEST_FORWARDED = 2_000
_ADDRESSES_REMEMBERED = 4096

type Headers = Iterable[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Requests a second of one key and unknown keys a minute from one address, each for this process; 0 is any."""

    key_requests_per_second: int
    bad_keys_per_minute: int


class Claim(NamedTuple):
    """What the head of a request says of who asks: `digest` is that of the key, None where there is none.

    `neighbours` is the neighbourhood of `address`, which is empty where the connection has none.
    """

    digest: bytes | None
    address: str
    neighbours: str
    user_agent: str


class Visitor(NamedTuple):
    """Who asks and from where; `address` is empty where the connection has none."""

    caller: Caller
    address: str
    user_agent: str


class TooMany(Refused):
    """Somebody comes too often (429)."""

    def __init__(self, code: str, message: str, seconds: float) -> None:
        super().__init__(429, code, message, {"Retry-After": str(max(1, math.ceil(seconds)))})


class Gate:
    """Lets a request in, or raises NotAuthenticated, TooMany or DatabaseUnavailable."""

    def __init__(self, authentication: Authentication, rates: Rates, trusted_proxies: Networks) -> None:
        self._authentication = authentication
        self._rates = rates
        self._trusted_proxies = trusted_proxies
        self._requests: Buckets[int] = Buckets(
            per_second=rates.key_requests_per_second, burst=rates.key_requests_per_second * _SECONDS_OF_BURST
        )
        self._bad_keys: Buckets[str] = Buckets(
            per_second=rates.bad_keys_per_minute / 60, burst=rates.bad_keys_per_minute
        )
        self._from_where = lru_cache(_ADDRESSES_REMEMBERED)(self._read_address)

    def claim(self, peer: str | None, headers: Headers) -> Claim:
        """Reads a head; requests with the same head from the same peer make the same claim."""
        authorization, forwarded_for, user_agent = _read(headers)
        forwarded_for = forwarded_for if self._trusted_proxies else ""
        address, neighbours = self._from_where(peer, forwarded_for)
        return Claim(digest_of(authorization), address, neighbours, user_agent)

    async def enter(self, claim: Claim) -> Visitor:
        caller = self._authentication.known(claim.digest) or await self._look_up(claim)
        wait = self._requests.take(caller.api_key_id)
        if wait:
            limit = self._rates.key_requests_per_second
            raise TooMany("too_many_requests", f"this API key may ask {limit} times a second, ask later", wait)
        return Visitor(caller, claim.address, claim.user_agent)

    async def _look_up(self, claim: Claim) -> Caller:
        """A key that was good a while ago is looked up whatever else comes from its address."""
        digest, neighbours = claim.digest, claim.neighbours
        if digest is None:
            raise NotAuthenticated("an API key is needed: Authorization: Bearer <key>", "missing_api_key")
        # The token is taken before the look, so that many guesses at once are no more than many in a row; whoever
        # comes with a key that is just being looked up waits for the same look.
        is_guess = not self._authentication.is_expected(digest)
        wait = self._bad_keys.take(neighbours) if is_guess else 0.0
        if wait:
            raise TooMany("too_many_bad_keys", "too many unknown API keys came from this address, ask later", wait)
        caller = await self._authentication.find(digest)
        if caller is None:
            if not is_guess:
                self._bad_keys.take(neighbours)
            raise NotAuthenticated("the API key is unknown or was revoked", "invalid_api_key")
        if is_guess:
            self._bad_keys.give_back(neighbours)
        return caller

    def _read_address(self, peer: str | None, forwarded_for: str) -> tuple[str, str]:
        """The client's address as text, and its neighbourhood."""
        address = client_address(peer, forwarded_for, self._trusted_proxies)
        return str(address or ""), neighbourhood(address)


def _read(headers: Headers) -> tuple[str | None, str, str]:
    """Authorization, all of X-Forwarded-For, and the user agent as far as it can be shown."""
    authorization: str | None = None
    forwarded_for = user_agent = ""
    for name, value in headers:
        if name == b"authorization":
            authorization = authorization or value.decode("latin-1")
        elif name == b"user-agent":
            user_agent = value.decode("latin-1")[:_LONGEST_USER_AGENT]
        elif name == b"x-forwarded-for":
            # Its end is what proxies of ours wrote.
            forwarded_for = f"{forwarded_for},{value.decode('latin-1')}"[-_LONGEST_FORWARDED:]
    if not user_agent.isprintable():
        user_agent = "".join(character for character in user_agent if character.isprintable())
    return authorization, forwarded_for, user_agent
