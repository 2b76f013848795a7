"""Which address a request came from, where proxies stand in front: the last hop that none of ours vouches for."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

type Address = IPv4Address | IPv6Address
type Networks = Sequence[IPv4Network | IPv6Network]

_MOST_HOPS = 20


def client_address(peer: str | None, forwarded_for: str, trusted: Networks) -> Address | None:
    """The client's address: `peer`, or what trusted proxies wrote down of whom they serve.

    `forwarded_for` is X-Forwarded-For, several lines joined by commas. Each proxy appends whom it was asked by, so the
    text is read from its end for as long as trusted proxies speak; what stands before was written by anybody.
    None when there is no peer address, as on a Unix socket.
    """
    client = parse(peer or "")
    if client is None:
        return None
    for hop in forwarded_for.rsplit(",", _MOST_HOPS)[::-1][:_MOST_HOPS]:
        if not any(client in network for network in trusted):
            break
        before = parse(hop)
        if before is None:
            break
        client = before
    return client


def parse(text: str) -> Address | None:
    """An address with or without brackets, port and zone; an IPv4 address written as IPv6 is that IPv4 address."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def neighbourhood(address: Address | None) -> str:
    """What one client commands: an IPv4 address, or the 64 bits that begin an IPv6 address."""
    if isinstance(address, IPv6Address):
        return str(IPv6Network((int(address) >> 64 << 64, 64)))
    return str(address or "")
