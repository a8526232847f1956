"""A uniform sample of the questions of each hour, for trying rules out: workers draw, the host's syncer merges.

Each question has a random key, and the sample of an hour is the questions with the smallest keys, whichever worker had
them. A worker draws when the next question comes whose key is small enough, and looks at no other; a check counts, and
no more. No id of a device or a user is kept: hashes stand in their place, under a key that no two processes share.
"""

import hashlib
import heapq
import math
import random
import secrets
import socket
from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from edge.question import Question
from ruleset import Circumstances, Place, Sample

SAMPLE_SIZE: Final = 1_000
HOUR_S: Final = 3_600
# From how many times the share that filled the last hour's sample a new hour begins: below 1 it would stay too small
# where fewer ask, at 1 in all the first thousand questions of an hour would be kept, one right after the other.
HEADROOM: Final = 4
# A question may have 64 KiB: a thousand made-up ones shall not fill a syncer's memory.
MAX_SAMPLE_BYTES: Final = 16 * 1024
# What a worker holds for a syncer that is busy or just starting.
MAX_HELD: Final = 2 * SAMPLE_SIZE
# Of a datagram; a socket takes 200 KB by default.
PAGE_BYTES: Final = 64 * 1024
# Hours kept: this one and the last.
HOURS_KEPT: Final = 2
# By which the syncer tells a page of samples from all else that workers tell.
MARK: Final = b"{"
NEVER: Final = 1 << 62
_HASH_BYTES: Final = 16
_KEY_BYTES: Final = 32


class Drawn(Struct, frozen=True, gc=False):
    """A sample with its random key, from 0 to 1; the smallest stay."""

    key: float
    sample: Sample


class _Page(Struct, frozen=True):
    drawn: list[msgspec.Raw]


class _Keyed(Struct, frozen=True):
    """What the syncer has to know of a sample."""

    key: float
    sample: "_Told"


class _Told(Struct, frozen=True):
    at: int
    workspace: str


_pages = msgspec.json.Decoder(_Page)
_keyed = msgspec.json.Decoder(_Keyed)
_encode = msgspec.json.Encoder().encode


class Sampler:
    """A worker's: draws questions, and tells them to the syncer.

    `next` is the number of the check, as the worker counts them, that is drawn next.

    Args:
        uniform: draws from 0 to 1.
    """

    def __init__(self, uniform: Callable[[], float] = random.random) -> None:
        self._uniform = uniform
        self._hash_key = secrets.token_bytes(_KEY_BYTES)
        self._hour, self._began_at = 0, 0
        # The smallest keys of this hour, negative, so that the largest of them lies on top.
        self._keys: list[float] = []
        self._bound = 1.0
        self._held: deque[bytes] = deque(maxlen=MAX_HELD)
        self.next = NEVER

    def tick(self, now: int, checks: int) -> None:
        """Begins a new hour where there is one.

        Args:
            now: seconds since 1970.
            checks: how many checks the worker has counted.
        """
        hour = now // HOUR_S
        if hour == self._hour:
            return
        seen = checks - self._began_at
        self._bound = min(1.0, HEADROOM * SAMPLE_SIZE / seen) if self._hour and seen else 1.0
        self._hour, self._began_at = hour, checks
        self._keys = []
        self._skip(checks)

    def take(self, question: Question, around: Circumstances, now: int, checks: int) -> None:
        """Draws this question, and says which one is next.

        Args:
            question: as it was answered.
            around: the lists that it was answered by.
            now: seconds since 1970.
            checks: how many checks the worker has counted, this one included.
        """
        key = self._uniform() * self._bound
        heapq.heappush(self._keys, -key)
        if len(self._keys) > SAMPLE_SIZE:
            heapq.heappop(self._keys)
        if len(self._keys) == SAMPLE_SIZE:
            self._bound = -self._keys[0]
        self._skip(checks)
        encoded = _encode(Drawn(key, make_sample(question, around, now, self._hash)))
        if len(encoded) <= MAX_SAMPLE_BYTES:
            self._held.append(encoded)

    def send(self, to: socket.socket) -> None:
        """Tells as much as a datagram socket takes now, without ever waiting."""
        while self._held:
            count, size = 0, 0
            while count < len(self._held) and (count == 0 or size + len(self._held[count]) <= PAGE_BYTES):
                size += len(self._held[count])
                count += 1
            page = b'{"drawn":[%b]}' % b",".join([self._held[i] for i in range(count)])
            try:
                to.send(page, socket.MSG_DONTWAIT)
            except OSError:  # full, or nobody is there: later
                return
            for _ in range(count):
                self._held.popleft()

    def _skip(self, checks: int) -> None:
        """How many questions come before the next one whose key is below the bound: geometric, drawn at once."""
        missed = 0
        if self._bound < 1.0:
            missed = int(math.log(1.0 - self._uniform()) / math.log1p(-max(self._bound, 1e-12)))
        self.next = checks + 1 + missed

    def _hash(self, identity: str) -> str:
        return hashlib.blake2b(identity.encode(), key=self._hash_key, digest_size=_HASH_BYTES).hexdigest()


def make_sample(question: Question, around: Circumstances, now: int, hash_: Callable[[str], str]) -> Sample:
    """Returns what is kept of a question: hashes for its ids, and the names of the lists that it was on."""
    device = question.device
    user = device.user
    windows = [
        id_
        for id_, window in around.windows.items()
        if window.find(device.id) is Place.MEMBER or (user and around.is_proven and window.find(user) is Place.MEMBER)
    ]
    return Sample(
        at=now,
        workspace=question.workspace,
        device=replace(device, id=hash_(device.id), user=hash_(user) if user else None),
        programs=question.programs,
        audiences=[name for name, audience in around.audiences.items() if audience.holds(user)] if user else [],
        windows=windows,
        proven=around.is_proven,
    )


class Reservoir:
    """The syncer's: the sample of this hour and of the last, of all workers together; lost when the syncer ends."""

    def __init__(self) -> None:
        # By hour: the negative key, a number that no other has, the workspace, the sample as JSON.
        self._hours: dict[int, list[tuple[float, int, str, bytes]]] = {}
        self._count = 0

    def take(self, page: bytes, now: int) -> None:
        """Merges what a worker tells; now in seconds since 1970."""
        for drawn in _pages.decode(page).drawn:
            keyed = _keyed.decode(drawn)
            hour = keyed.sample.at // HOUR_S
            if not now // HOUR_S - HOURS_KEPT < hour <= now // HOUR_S:
                continue
            kept = self._hours.setdefault(hour, [])
            self._count += 1
            heapq.heappush(kept, (-keyed.key, self._count, keyed.sample.workspace, bytes(drawn)))
            if len(kept) > SAMPLE_SIZE:
                heapq.heappop(kept)
        self._forget(now)

    def tell(self, workspace: str, now: int) -> bytes:
        """Returns the samples of a workspace as JSON, `{"samples": [...]}`, the last hour's first."""
        self._forget(now)
        samples = [
            _encode(msgspec.json.decode(drawn, type=Drawn).sample)
            for _, kept in sorted(self._hours.items())
            for _, _, name, drawn in kept
            if name == workspace
        ]
        return b'{"samples":[%b]}' % b",".join(samples)

    def _forget(self, now: int) -> None:
        oldest = now // HOUR_S - HOURS_KEPT + 1
        self._hours = {hour: kept for hour, kept in self._hours.items() if hour >= oldest}
