"""The windows in Redis: who is admitted, decided in one step, and the fence that keeps a Redis with gaps from it.

What a host knows and when it may be believed are values here; files, identities and checks are not known. The law is in
docs/windows.md: nobody is admitted by a server that has not been given everything back, or by a host of which nobody
else has heard.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, NamedTuple, cast

from redis.asyncio import Redis

from channel.errors import LinkRefusedError
from channel.keys import Keys
from channel.link import reach
from channel.script import read_script

Argument = str | int | float | bytes

FINGERPRINT_BYTES: Final = 8
# Put back or copied in one script: Redis serves nobody else meanwhile.
PAGE: Final = 2_000
# Who can write to Redis could else have a host make files wherever, and without end.
_WINDOW: Final = re.compile(r"[0-9a-f]{16}")
MAX_WINDOWS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Silences:
    """How long hosts are silent until something follows from it, in seconds of Redis' clock.

    Args:
        silence_s: the longest silence of a host that still admits. A beat is due every second.
        lost_s: who had been silent for so long before the newest copy was made is not waited for: everything that it
            admitted is in that copy. Longer than `silence_s`.
        settle_s: the shortest recovery, so that every host that lives has time to come.
        forget_s: after so much silence a host is no longer listed.
    """

    silence_s: float = 10.0
    lost_s: float = 20.0
    settle_s: float = 3.0
    forget_s: float = 600.0


class Known(NamedTuple):
    """What a host has on its disk: everything that was admitted up to a time, and who was there then.

    `generation` is 0, `entry` empty and `at` "0" for nothing. `at` is the text of a time, in seconds of Redis' clock.
    """

    generation: int = 0
    entry: str = ""
    at: str = "0"
    hosts: tuple[str, ...] = ()


class Asked(NamedTuple):
    """A window, and the fingerprints of those who ask for a place in it. Times in seconds since 1970."""

    window: str
    limit: int
    opens_at: int
    closes_at: int
    per_minute: int | None
    fingerprints: Sequence[int]


class Answer(Enum):
    """What somebody is told who has asked for a place."""

    MEMBER = "m"
    ADMITTED = "a"
    FULL = "f"
    CLOSED = "c"
    LATER = "l"
    FENCED = "x"


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A host as Redis knows it: its last sign of life, in seconds of Redis' clock, and whether it may admit."""

    last: float
    is_known: bool


@dataclass(frozen=True, slots=True)
class Stand:
    """How the windows stand in the server that was asked.

    Args:
        is_open: whether it admits anybody.
        generation: grows with each recovery.
        entry: the recovery that it was opened by, or that goes on; workers show it when they ask.
        at: the time there, as its text.
        needed: hosts that still have to put back what they know.
        hosts: by their names.
        windows: how many members each has, by its id.
    """

    is_open: bool
    generation: int
    entry: str
    at: str
    needed: tuple[str, ...]
    hosts: dict[str, Neighbour]
    windows: dict[str, int]

    def list_living(self, lost_s: float) -> tuple[str, ...]:
        """Returns the hosts that may have admitted somebody shortly before."""
        return tuple(sorted(name for name, host in self.hosts.items() if host.last >= float(self.at) - lost_s))


class Windows:
    """Asks and keeps the windows of one workspace in one Redis.

    Args:
        client: a Redis of `link.connect`; `close` closes it.
        workspace: whose; KeyNameError where it is no name.
        silences: how long hosts are waited for.
        clock: the time instead of Redis' own, for tests.
    """

    def __init__(
        self,
        client: Redis,
        workspace: str,
        silences: Silences = Silences(),
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._keys = Keys.of(workspace)
        self._client = client
        self.silences = silences
        self._clock = clock
        self._admit = client.register_script(read_script("admit.lua"))
        self._beat = client.register_script(read_script("beat.lua"))
        self._give_back = client.register_script(read_script("giveback.lua"))
        self._copy = client.register_script(read_script("copy.lua"))
        self._gone = client.register_script(read_script("gone.lua"))

    async def admit(self, host: str, entry: str, asked: Sequence[Asked]) -> list[list[Answer]]:
        """Returns what each of those who ask is told, by window and in their order; all is decided in one step.

        Args:
            host: who admits.
            entry: `Stand.entry` of the recovery in which the host has put everything back.
            asked: each window once.

        Raises:
            LinkError: Redis is away or refuses; some of them may be admitted, and are members when they ask again.
        """
        keys = [self._keys.windows, *(self._name(entry, each.window) for each in asked)]
        head: list[Argument] = [host, entry, self.silences.silence_s, self._read_clock()]
        with reach():
            reply = await self._admit(keys=keys, args=[*head, *_list_asked(asked)])
        return _read_letters(reply, asked)

    async def beat(self, host: str, known: Known, done: str, *, leaves: bool = False) -> Stand:
        """Gives a host's sign of life, fences what has gaps, and returns how the windows stand.

        Args:
            host: its name.
            known: what it has on its disk.
            done: the entry for which it has put everything back, empty for none.
            leaves: whether this is its last one, and it admits nobody any more.

        Raises:
            LinkError: Redis is away or refuses.
        """
        silences = self.silences
        args: list[Argument] = [host, known.generation, known.entry, known.at, done, int(leaves)]
        args += [silences.silence_s, silences.lost_s, silences.settle_s]
        args += [silences.forget_s, self._read_clock(), *known.hosts]
        with reach():
            reply = await self._beat(keys=[self._keys.windows], args=args)
        return _read_stand(reply)

    async def give_back(self, entry: str, window: str, fingerprints: Sequence[int]) -> bool:
        """Puts members back, in pages; says whether the server was in that entry all the time.

        Raises:
            LinkError: Redis is away or refuses.
        """
        keys = [self._keys.windows, self._name(entry, window)]
        for start in range(0, len(fingerprints), PAGE):
            page = pack(fingerprints[start : start + PAGE])
            with reach():
                if not await self._give_back(keys=keys, args=[entry, window, page]):
                    return False
        return True

    async def copy(self, stand: Stand, window: str, start: int) -> list[int] | None:
        """Returns the members of a window from a place on, None where the server does not stand so any more.

        Raises:
            LinkError: Redis is away or refuses.
        """
        keys = [self._keys.windows, self._name(stand.entry, window)]
        found: list[int] = []
        for first in range(start, stand.windows[window], PAGE):
            last = min(first + PAGE, stand.windows[window]) - 1
            with reach():
                reply = await self._copy(keys=keys, args=[stand.entry, first, last])
            if not isinstance(reply, list) or len(reply) != last + 1 - first:
                return None
            found += (_unpack(member) for member in reply)
        return found

    async def give_up(self, host: str) -> bool:
        """Has the recovery that goes on wait no longer for a host; False where nobody waits for it.

        Raises:
            LinkError: Redis is away or refuses.
        """
        with reach():
            return bool(await self._gone(keys=[self._keys.windows], args=[host]))

    async def close(self) -> None:
        """Closes the connection."""
        await self._client.aclose()

    def _name(self, entry: str, window: str) -> str:
        """The key of a window's members, as an entry names it."""
        return self._keys.window(window, entry.rpartition(":")[2] or "0")

    def _read_clock(self) -> str:
        return repr(self._clock()) if self._clock else ""


def pack(fingerprints: Iterable[int]) -> bytes:
    """Returns fingerprints as they lie in Redis, one behind the other."""
    return b"".join(fingerprint.to_bytes(FINGERPRINT_BYTES, "big") for fingerprint in fingerprints)


def _unpack(member: bytes) -> int:
    return int.from_bytes(member[:FINGERPRINT_BYTES], "big")


def _list_asked(asked: Iterable[Asked]) -> Iterable[Argument]:
    for each in asked:
        rate = "" if each.per_minute is None else each.per_minute
        yield from (each.window, each.limit, each.opens_at, each.closes_at, rate, pack(each.fingerprints))


def _read_letters(reply: object, asked: Sequence[Asked]) -> list[list[Answer]]:
    try:
        answers = [[Answer(chr(letter)) for letter in letters] for letters in cast("list[bytes]", reply)]
    except (TypeError, ValueError):
        answers = []
    if [len(letters) for letters in answers] != [len(each.fingerprints) for each in asked]:
        raise LinkRefusedError(f"expected a letter for each who has asked, got {reply!r:.100}")
    return answers


def _read_stand(reply: Any) -> Stand:
    try:
        is_open, generation, entry, at, needed, hosts, windows = reply
        return Stand(
            bool(is_open),
            int(generation),
            entry.decode(),
            at.decode(),
            tuple(sorted(name.decode() for name in needed)),
            {
                name.decode(): Neighbour(float(last), bool(known))
                for name, last, known in zip(*[iter(hosts)] * 3, strict=True)
            },
            _read_windows(windows),
        )
    except (AttributeError, TypeError, ValueError):
        raise LinkRefusedError(f"expected how the windows stand, got {reply!r:.100}") from None


def _read_windows(flat: Sequence[Any]) -> dict[str, int]:
    windows = {id_.decode(): int(count) for id_, count in zip(*[iter(flat)] * 2, strict=True)}
    if len(windows) > MAX_WINDOWS or not all(map(_WINDOW.fullmatch, windows)):
        raise LinkRefusedError(f"expected at most {MAX_WINDOWS} windows of known names in redis, got {len(windows)}")
    return windows
