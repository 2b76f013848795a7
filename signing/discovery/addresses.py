"""What an orchestrator's address may look like, and which machines we may call because somebody named them."""

import contextlib
import ipaddress
import re
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

type IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

LONGEST = 255
_HOST_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))*\.?")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class BadAddress(ValueError):
    """Not of the form https://host:port."""


def normalise(text: str) -> str:
    """`https://host:port` in lower case, without the trailing slash it may have. Raises BadAddress.

    A gateway opens gRPC and HTTP at the same host and port, so there is no path, and the port must be said.
    """
    if len(text) > LONGEST or not text.isascii() or not text.isprintable():
        raise BadAddress("too long, or not printable ASCII")
    try:
        parts = urlsplit(text)
        port = parts.port
        host = parts.hostname or ""
    except ValueError as error:
        raise BadAddress(str(error)) from None
    if parts.scheme != "https" or not port or parts.path not in {"", "/"}:
        raise BadAddress("not https://host:port")
    if any(sign in text for sign in "@?#%\\"):
        raise BadAddress("more than https://host:port")
    return f"https://{_host(host)}:{port}"


def usable(given: Iterable[object]) -> list[str]:
    """The addresses among them, each once, in their order."""
    found: dict[str, None] = {}
    for text in given:
        with contextlib.suppress(BadAddress):
            if isinstance(text, str):
                found[normalise(text)] = None
    return list(found)


def owners(registry: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Who registered an address; the first, who has the larger stake, where two say it is theirs."""
    found: dict[str, str] = {}
    for owner, uri in registry:
        for address in usable([uri]):
            found.setdefault(address, owner)
    return found


def split(address: str) -> tuple[str, int]:
    """Host, without brackets, and port of a normalised address."""
    parts = urlsplit(address)
    assert parts.hostname
    assert parts.port
    return parts.hostname, parts.port


def ip_of(host: str) -> IpAddress | None:
    """The IP address that a host is written as, None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def is_public(ip: IpAddress) -> bool:
    """Whether it is a machine of the open internet: not ours, not our network's, not a way around to them."""
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return is_public(ip.ipv4_mapped)
        if ip.sixtofour is not None or ip.teredo is not None or ip in _NAT64:
            return False
    return ip.is_global and not ip.is_multicast


def _host(host: str) -> str:
    ip = ip_of(host)
    if ip is not None:
        return f"[{ip}]" if ip.version == 6 else str(ip)
    # A name whose last part is a number would be read as an IP address by some resolvers: 127.1, 0x7f.1.
    last = host.rstrip(".").rpartition(".")[2]
    if not _HOST_NAME.fullmatch(host) or re.fullmatch(r"[0-9]+|0x[0-9a-f]*", last):
        raise BadAddress("no host")
    return host
