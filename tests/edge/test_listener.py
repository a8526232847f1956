"""Tests of edge/listener.py."""

import socket
from pathlib import Path

import pytest

from edge.listener import OwnSlot, bind, bind_another, name_address


def test_sockets_share_an_address() -> None:
    """Every worker has a socket of its own on one address, and each of them listens."""
    listeners = bind("127.0.0.1", 0, 3)
    assert len({listener.getsockname() for listener in listeners}) == 1
    assert all(listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) for listener in listeners)
    for listener in listeners:
        listener.close()


def test_address_of_ipv6() -> None:
    """An address of IPv6 is one like any other."""
    if not socket.has_ipv6 or not Path("/proc/net/if_inet6").exists():
        pytest.skip("this machine has no IPv6")
    (listener,) = bind("::1", 0, 1)
    assert listener.family == socket.AF_INET6
    listener.close()


@pytest.mark.parametrize("shares", [False, True])
def test_taken_address_is_refused(shares: bool) -> None:
    """Where somebody listens, even one who would share the address, nothing is bound, and the address is named."""
    with socket.socket() as taken:
        if shares:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=rf"127.0.0.1:{port} cannot be listened on: Address already in use"):
            bind("127.0.0.1", port, 2)


def test_foreign_address_is_refused() -> None:
    """An address that is not this machine's is named."""
    with pytest.raises(OSError, match=r"192\.0\.2\.1:80 cannot be listened on: Cannot assign requested address"):
        bind("192.0.2.1", 80, 1)


def test_one_more_socket_on_the_same_address() -> None:
    """A host that gets more workers binds more sockets where it listens; nobody waits in one that is not served yet."""
    (listener,) = bind("127.0.0.1", 0, 1)
    another = bind_another(listener)
    assert another.getsockname() == listener.getsockname()
    assert not another.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    listener.close()
    another.close()


def test_addresses_as_people_write_them() -> None:
    """An address of IPv6 stands in brackets."""
    (listener,) = bind("127.0.0.1", 0, 1)
    assert name_address(listener) == f"127.0.0.1:{listener.getsockname()[1]}"
    listener.close()
    with socket.socket(socket.AF_INET6) as listener:
        assert name_address(listener) == "[::]:0"


def test_slot_has_a_pair_that_holds_many() -> None:
    """Connections wait in a slot until somebody serves it, more of them than a socket of datagrams would take."""
    slot = OwnSlot.make(bind("127.0.0.1", 0, 1)[0])
    assert slot.descriptors == [slot.listener.fileno(), slot.giving.fileno(), slot.taking.fileno()]
    for number in range(100):
        socket.send_fds(slot.giving, [b"%d" % number], [slot.listener.fileno()], socket.MSG_DONTWAIT)
    told, descriptors, _, _ = socket.recv_fds(slot.taking, 10, 1)
    assert told == b"0"
    with socket.socket(fileno=descriptors[0]) as given:
        assert given.getsockname() == slot.listener.getsockname()
    slot.close()
    assert slot.giving.fileno() == -1
