"""Addresses of listeners: which texts are one, and how it is split."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from settings.address import HIGHEST_PORT, split_address


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080),
        ("0.0.0.0:1", "0.0.0.0", 1),  # noqa: S104 - nothing listens there
        ("localhost:80", "localhost", 80),
        ("edge-1.Example.org:80", "edge-1.Example.org", 80),
        ("[::1]:8080", "::1", 8080),
        ("[::]:8080", "::", 8080),
        ("[2001:DB8:0:0:0:0:0:1]:8080", "2001:db8::1", 8080),
        ("[::ffff:192.0.2.1]:8080", "::ffff:c000:201", 8080),
        ("localhost:0", "localhost", 0),
        ("localhost:65535", "localhost", 65_535),
        ("localhost:00080", "localhost", 80),
    ],
)
def test_an_address_is_split(address: str, host: str, port: int) -> None:
    """Names, IPv4 and bracketed IPv6 are hosts; the brackets go, and an IPv6 host has its short form."""
    assert split_address(address) == (host, port)


@pytest.mark.parametrize(
    "address",
    [
        "",
        ":",
        ":8080",
        "8080",
        "localhost",
        "localhost:",
        "localhost:65536",
        "localhost:99999",
        "localhost:000080",
        "localhost:-1",
        "localhost:+1",
        "localhost:1_0",
        "localhost:\u0661",
        "localhost:http",
        " localhost:80",
        "localhost:80 ",
        "localhost:80\n",
        "local host:80",
        "k\u00f6ln:80",
        "::1:8080",
        "::1",
        "[::1]",
        "[::1]8080",
        "[::1:8080",
        "[]:8080",
        "[localhost]:8080",
        "[127.0.0.1]:8080",
        "[::1::]:8080",
        "[1:2:3:4:5:6:7:8:9]:8080",
        "[12345::]:8080",
        "[fe80::1%eth0]:8080",
        "http://localhost:80",
        "localhost:80/",
        "\x1b[31m:80",
    ],
)
def test_what_is_no_address_is_refused(address: str) -> None:
    """Whatever is wrong with it, the message has an example and the text as it came, escaped."""
    with pytest.raises(ValueError, match=f"^{re.escape(f'expected an address like 127.0.0.1:8080, got {address!r}')}$"):
        split_address(address)


@given(st.text() | st.from_regex(r"\[[0-9a-f:.]*\]:[0-9]{1,6}"))
def test_any_text_is_an_address_or_a_value_error(text: str) -> None:
    """There is no third outcome, and a port is never out of its bounds."""
    try:
        host, port = split_address(text)
    except ValueError as error:
        assert str(error) == f"expected an address like 127.0.0.1:8080, got {text!r}"  # noqa: PT017 - both are right
    else:
        assert host
        assert 0 <= port <= HIGHEST_PORT
