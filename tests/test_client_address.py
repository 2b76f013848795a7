"""Where a request came from, however many proxies stand in front and whatever the client claims."""

from ipaddress import ip_address, ip_network

import pytest

from accounts.client_address import client_address, neighbourhood, parse

TRUSTED = tuple(ip_network(text) for text in ("10.0.0.0/8", "192.0.2.7", "fd00::/8"))


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "client"),
    [
        ("203.0.113.9", "", "203.0.113.9"),
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "127.0.0.1, 198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "1.1.1.1, 198.51.100.1, 192.0.2.7,10.9.9.9", "198.51.100.1"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", "198.51.100.1, unknown", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1, unknown, 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", "198.51.100.1:4711", "198.51.100.1"),
        ("10.0.0.1", "[2001:db8::1]:4711", "2001:db8::1"),
        ("10.0.0.1", '"[2001:db8::1]"', "2001:db8::1"),
        ("10.0.0.1", "::ffff:198.51.100.1", "198.51.100.1"),
        ("::ffff:10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("fd00::1", "2001:db8::1", "2001:db8::1"),
        ("fe80::1%eth0", "198.51.100.1", "fe80::1"),
        ("10.0.0.1", ",,,", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1," + "10.0.0.2," * 30 + "10.0.0.9", "10.0.0.2"),
    ],
)
def test_the_client_is_the_last_hop_that_no_proxy_of_ours_vouches_for(
    peer: str, forwarded_for: str, client: str
) -> None:
    assert client_address(peer, forwarded_for, TRUSTED) == ip_address(client)


def test_without_proxies_nothing_that_is_forwarded_counts() -> None:
    assert client_address("127.0.0.1", "198.51.100.1", ()) == ip_address("127.0.0.1")


@pytest.mark.parametrize("peer", [None, "", "a-socket"])
def test_a_connection_without_an_address_has_none(peer: str | None) -> None:
    assert client_address(peer, "198.51.100.1", TRUSTED) is None
    assert neighbourhood(None) == ""


def test_an_ipv6_client_commands_its_64_bits() -> None:
    assert (
        neighbourhood(parse("2001:db8:1:2:3:4:5:6")) == neighbourhood(parse("2001:db8:1:2::9")) == "2001:db8:1:2::/64"
    )
    assert neighbourhood(parse("198.51.100.1")) == "198.51.100.1"
