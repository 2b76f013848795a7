"""Which addresses an orchestrator may have, and which of them are called."""

import ipaddress

import pytest

from signing.discovery import addresses
from signing.discovery.addresses import BadAddress
from tests.discovery_builders import HERE


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://orch.example:8935", HERE),
        ("https://Orch.Example:8935/", HERE),
        ("https://203.0.113.7:443", "https://203.0.113.7:443"),
        ("https://[2001:DB8::1]:8935", "https://[2001:db8::1]:8935"),
        ("https://under_score.example:1", "https://under_score.example:1"),
    ],
)
def test_an_address_is_https_host_and_port(given: str, kept: str) -> None:
    assert addresses.normalise(given) == kept


@pytest.mark.parametrize(
    "given",
    [
        "",
        "http://orch.example:8935",
        "https://orch.example",
        "https://orch.example:0",
        "https://orch.example:99999",
        "https://orch.example:8935/path",
        "https://orch.example:8935?",
        "https://orch.example:8935#x",
        "https://me:secret@orch.example:8935",
        "https://127.1:8935",
        "https://0x7f000001:8935",
        "https://2130706433:8935",
        "https://orch example:8935",
        "https://orch.example:8935\r\nHost: x",
        "https://ørch.example:8935",
        "https://-a.example:1",
        "https://" + "a" * 300 + ":1",
        "file:///etc/passwd",
        "gopher://orch.example:8935",
        "https://[::1%25eth0]:8935",
    ],
)
def test_everything_else_is_no_address(given: str) -> None:
    with pytest.raises(BadAddress):
        addresses.normalise(given)


def test_only_machines_of_the_open_internet_are_called() -> None:
    inside = [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fd00::1",
        "ff0e::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "2002:7f00:1::",
        "64:ff9b::7f00:1",
        "2001:0:7f00:1::1",
    ]
    assert [text for text in inside if addresses.is_public(ipaddress.ip_address(text))] == []
    assert addresses.is_public(ipaddress.ip_address("8.8.8.8"))
    assert addresses.is_public(ipaddress.ip_address("2606:4700::1111"))
