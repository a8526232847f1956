"""The sockets of a host that listen, and their slots: bound once, kept for ever. Standard library only."""

import socket
from dataclasses import dataclass
from typing import Self

# How many connections may wait for a worker. The loop accepts all that wait in one turn, 15 us each: these 15 ms are
# the longest that a flood of new connections holds up those that are there. One more is not refused: its client's
# system asks again after a second.
BACKLOG = 1_024


@dataclass(frozen=True, slots=True)
class OwnSlot:
    """A listening socket, and the pair by which workers give each other connections that its worker is to go on with.

    What is given is a stream of records, so that a queue of them is bounded by bytes, not by a setting of the system.
    """

    listener: socket.socket
    giving: socket.socket
    taking: socket.socket

    @classmethod
    def make(cls, listener: socket.socket) -> Self:
        """Returns a slot of a socket that listens."""
        return cls(listener, *socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))

    @property
    def descriptors(self) -> list[int]:
        """The three, by their numbers, in this order."""
        return [self.listener.fileno(), self.giving.fileno(), self.taking.fileno()]

    def close(self) -> None:
        """Closes the three."""
        for each in (self.listener, self.giving, self.taking):
            each.close()


def bind(host: str, port: int, count: int) -> list[socket.socket]:
    """Returns that many sockets listening on one address by SO_REUSEPORT; with port 0 all take the first one's port.

    With SO_REUSEPORT two edges on one address would both get a part of the devices: where somebody else listens
    already, nothing is bound.

    Raises:
        OSError: the address is in use, or not this machine's; the message names it.
    """
    listeners: list[socket.socket] = []
    try:
        _refuse_taken(host, port)
        for _ in range(count):
            listeners.append(_listen(host, port))
            port = listeners[0].getsockname()[1]
    except OSError as error:
        for listener in listeners:
            listener.close()
        raise OSError(error.errno, f"{host}:{port} cannot be listened on: {error.strerror}") from None
    return listeners


def bind_another(listener: socket.socket) -> socket.socket:
    """Returns one more socket on the address of one that listens; raises OSError.

    It listens when a worker serves it, and not before: until then connections would wait in it for nobody.
    """
    return _bind(*listener.getsockname()[:2])


def name_address(listener: socket.socket) -> str:
    """Returns the address that a socket listens on, as people write it."""
    host, port, *_ = listener.getsockname()
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _open_socket(host: str) -> socket.socket:
    opened = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return opened


def _refuse_taken(host: str, port: int) -> None:
    with _open_socket(host) as probe:
        probe.bind((host, port))


def _listen(host: str, port: int) -> socket.socket:
    listener = _bind(host, port)
    try:
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _bind(host: str, port: int) -> socket.socket:
    bound = _open_socket(host)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound
