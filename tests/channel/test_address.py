"""Addresses: what an operator writes, and what a connection is made of."""

import pytest
from redis.asyncio import SSLConnection

from channel import KeyNameError, connect, read_address
from channel.address import MAX_SEEDS, Form, Seat


def test_server_is_read_as_redis_py_reads_it() -> None:
    """An address of one server has options alone."""
    found = read_address("redis://u:p%40w@example.org:7000/2")
    assert (found.form, found.seats) == (Form.SERVER, ())
    assert found.options == {"host": "example.org", "port": 7000, "username": "u", "password": "p@w", "db": 2}


def test_sentinels_are_read() -> None:
    """Sentinels have ports of their own by default, and none of the server's passwords."""
    url = "redis+sentinel://u:p%2Fw@a,b:7001,[::1]/main/2?sentinel_username=s&sentinel_password=t"
    found = read_address(url)
    assert found.seats == (Seat("a", 26_379), Seat("b", 7001), Seat("::1", 26_379))
    assert (found.form, found.service) == (Form.SENTINEL, "main")
    assert found.options == {"username": "u", "password": "p/w", "db": 2}
    assert found.asking == {"username": "s", "password": "t", "db": 0}
    assert read_address("redis+sentinel://u:p@a/main").asking == {"username": None, "password": None, "db": 0}


def test_cluster_is_read() -> None:
    """A cluster's nodes are asked as its server is, over TLS where the scheme says so."""
    found = read_address("rediss+cluster://u:p@[::1]:7000,[::2]?ssl_ca_certs=/etc/ca.pem")
    assert (found.form, found.seats) == (Form.CLUSTER, (Seat("::1", 7000), Seat("::2", 6379)))
    wanted = {"username": "u", "password": "p", "ssl_ca_certs": "/etc/ca.pem", "connection_class": SSLConnection}
    assert found.options == found.asking == wanted


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://a:1",
        "redis+sentinel://a:1/",
        "redis+sentinel:///main",
        "redis+sentinel://a,,b/main",
        "redis+sentinel://a:port/main",
        "redis+cluster://a:1/1",
        "redis+cluster://",
        f"redis+cluster://{'a,' * MAX_SEEDS}a",
        "redis://a:geheim",
    ],
)
def test_half_an_address_is_refused(url: str) -> None:
    """An address without a host or a service, of another database in a cluster, or of too many hosts, is none."""
    with pytest.raises(
        KeyNameError, match=r"^expected a redis address, got one of scheme '[a-z+]*' that cannot be read$"
    ):
        read_address(url)


@pytest.mark.parametrize("scheme", ["unix+cluster", "redis+sentry", "redis+", "http+cluster"])
def test_other_form_is_refused(scheme: str) -> None:
    """A form of an address that is none is refused, and what follows is not shown."""
    with pytest.raises(KeyNameError, match=rf"got one with scheme '{scheme.replace('+', '.')}'$"):
        read_address(f"{scheme}://geheim@a/b")


def test_cluster_wants_a_workspace() -> None:
    """In a cluster nobody can say which server is meant without the keys that will be asked for."""
    with pytest.raises(KeyNameError, match="expected a workspace"):
        connect("redis+cluster://a", 1)
    with pytest.raises(KeyNameError, match="expected a workspace of 1 to 63"):
        connect("redis+cluster://a", 1, "No Workspace")
