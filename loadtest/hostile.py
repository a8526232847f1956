"""Who means harm: many connections that cost a server more than they ask. `python -m loadtest.hostile CROWD PORT`.

It says `ready` when all are there, does its worst until its standard input ends, and tells then how many of its
connections were ended by the server. A connection that has ended comes again after a second.
"""

import os
import select
import socket
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

TICK_S: Final = 0.01
AGAIN_S: Final = 1.0
HEAD: Final = b"POST /v1/check HTTP/1.1\r\nHost: edge.example\r\nContent-Type: application/json\r\n"
# Sent a byte at a time, for as long as the server lets it.
SLOWLY: Final = HEAD + b"Content-Length: 1000\r\nX-Slow: " + b"z" * 4_000
OVERSIZED: Final = HEAD + b"Content-Length: 10000000000\r\n\r\n"
ENDLESS: Final = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
PIECE: Final = b"4000\r\n" + b"z" * 0x4000 + b"\r\n"
FLOOD_BODY: Final = (
    b'{"workspace":"flood","device":{"id":"d1","platform":"android"},"programs":{"2021000000000001":"1.0"}}'
)
FLOOD: Final = HEAD + b"Content-Length: %d\r\n\r\n" % len(FLOOD_BODY) + FLOOD_BODY
# How many new connections are begun in a tick: a queue of them that overflows would make them wait a second.
BEGUN_A_TICK: Final = 200


@dataclass(slots=True)
class Member:
    """One hostile connection: its number in the crowd, and how many bytes it has sent."""

    connection: socket.socket
    number: int
    sent: int = 0


@dataclass(frozen=True, slots=True)
class Crowd:
    """How many there are, and what each does when it is connected, at its turn, and when an answer comes.

    Turns come every `pause_s` seconds, spread over this time, and not at all with 0.
    """

    count: int
    pause_s: float = 0.0
    greet: Callable[[Member], None] = lambda _: None
    act: Callable[[Member], None] = lambda _: None
    reply: Callable[[Member], None] = lambda _: None


def _drip(member: Member) -> None:
    member.connection.send(SLOWLY[member.sent : member.sent + 1])
    member.sent += 1


def _begin_body(member: Member) -> None:
    member.connection.send(OVERSIZED if member.number % 2 else ENDLESS)


def _go_on_with_body(member: Member) -> None:
    member.connection.send(PIECE)


def _flood(member: Member) -> None:
    member.connection.send(FLOOD)


CROWDS: Final = {
    "slow": Crowd(5_000, 1.0, act=_drip),
    "idle": Crowd(10_000),
    "bodies": Crowd(200, 0.1, greet=_begin_body, act=_go_on_with_body),
    "flood": Crowd(64, greet=_flood, reply=_flood),
}


class Mob:
    """A crowd at work on a port of the loopback interface."""

    def __init__(self, crowd: Crowd, port: int, count: int) -> None:
        self._crowd, self._port = crowd, port
        self._poll = select.epoll()
        self._members: dict[int, Member] = {}
        self._absent = deque((0.0, number) for number in range(count))
        self._ring: list[int] = []
        self._turn = 0.0
        self._count = count
        self.ended = 0
        self.has_come = False

    def tick(self, now: float) -> None:
        """Does what is due."""
        for _ in range(BEGUN_A_TICK):
            if self._absent and self._absent[0][0] <= now:
                self._come(self._absent.popleft()[1])
        self.has_come = self.has_come or not self._absent
        for descriptor, event in self._poll.poll(TICK_S):
            self._heed(self._members[descriptor], event, now)
        if self._crowd.pause_s:
            self._take_turns(now)

    def close(self) -> None:
        """Ends all of it."""
        for member in self._members.values():
            member.connection.close()
        self._poll.close()

    def _come(self, number: int) -> None:
        connection = socket.socket()
        connection.settimeout(0)
        connection.connect_ex(("127.0.0.1", self._port))
        self._members[connection.fileno()] = Member(connection, number)
        self._poll.register(connection.fileno(), select.EPOLLOUT)

    def _heed(self, member: Member, event: int, now: float) -> None:
        try:
            if event & select.EPOLLOUT:
                self._poll.modify(member.connection.fileno(), select.EPOLLIN)
                self._crowd.greet(member)
            elif not member.connection.recv(1 << 16):
                self._leave(member, now)
            else:
                self._crowd.reply(member)
        except BlockingIOError:
            pass
        except OSError:
            self._leave(member, now)

    def _leave(self, member: Member, now: float) -> None:
        del self._members[member.connection.fileno()]
        member.connection.close()
        self._absent.append((now + AGAIN_S, member.number))
        self.ended += 1

    def _take_turns(self, now: float) -> None:
        """So many have their turn in each tick that all have had it in the pause."""
        if not self._ring:
            if now < self._turn:
                return
            self._ring, self._turn = list(self._members), now + self._crowd.pause_s
        share = max(1, int(self._count * TICK_S / self._crowd.pause_s))
        now_due, self._ring = self._ring[:share], self._ring[share:]
        for descriptor in now_due:
            member = self._members.get(descriptor)
            if member is not None:
                try:
                    self._crowd.act(member)
                except BlockingIOError:
                    pass
                except OSError:
                    self._leave(member, now)


def main(name: str, port: int, count: int = 0) -> None:
    """Runs a crowd until the standard input ends."""
    crowd = CROWDS[name]
    mob, is_told = Mob(crowd, port, count or crowd.count), False
    stop = select.poll()
    stop.register(0, select.POLLIN | select.POLLHUP)
    while not stop.poll(0):
        mob.tick(time.monotonic())
        if mob.has_come and not is_told:
            is_told = True
            os.write(1, b"ready\n")
    os.write(1, b"%d\n" % mob.ended)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
