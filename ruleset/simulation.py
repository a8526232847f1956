"""What a changed document would do: sample questions, decided by the one before and by the changed one. PURE.

Lists stand in samples by name: an audience holds a sample's user where it held it then, and a window has whoever was in
it, and is open to all others, since nobody is asked. What is decided is `evaluate`'s.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from typing import Final, NamedTuple

from msgspec import Struct

from ruleset.circumstance import Circumstances, Place
from ruleset.compiler import CompiledProgram
from ruleset.errors import VersionError
from ruleset.evaluator import Reason, evaluate
from ruleset.model import Device
from ruleset.sample import Sample
from ruleset.version import NOT_INSTALLED, format_version, parse_version

# Devices shown of each move.
MAX_EXAMPLES: Final = 5


class Outcome(NamedTuple):
    """What a device has of a program: a release and why. No reason where there is no document of the program."""

    release: str | None
    version: str | None
    reason: Reason | None


class Move(Struct, frozen=True):
    """How many questions have one outcome before and one after; a few of the devices that asked them."""

    before: Outcome
    after: Outcome
    count: int
    examples: list[Device]

    @property
    def is_one(self) -> bool:
        """Whether anything changes: the release, its version or what the device does."""
        return self.before != self.after


class Simulation(Struct, frozen=True):
    """What would become of the questions of `asked` samples, those about the program; the most frequent first."""

    asked: int
    moves: list[Move]

    @property
    def moved(self) -> int:
        """How many of them would have another outcome."""
        return sum(move.count for move in self.moves if move.is_one)


class _Held:
    """An audience that held somebody."""

    @staticmethod
    def holds(_user: str) -> bool:
        return True


class _Unasked(Struct, frozen=True, gc=False):
    """A window, for one sample: whether its device is in."""

    place: Place

    def find(self, _identity: str) -> Place:
        return self.place


_HELD: Final = _Held()
_MEMBER, _OPEN = _Unasked(Place.MEMBER), _Unasked(Place.OPEN)


def simulate(
    current: CompiledProgram | None, changed: CompiledProgram, samples: Iterable[Sample], now: int
) -> Simulation:
    """Returns how samples would move.

    Args:
        current: the program before, None where there is none yet.
        changed: the program after.
        samples: those that do not ask about the program are passed over.
        now: as of when, in seconds; the time of a sample is not asked.
    """
    windows = set(_list_windows(current)) | set(_list_windows(changed))
    found: dict[tuple[Outcome, Outcome], list[Device]] = defaultdict(list)
    for sample in samples:
        installed = _read_installed(sample, changed.id)
        if installed is None:
            continue
        around = _surround(sample, windows)
        before = _decide(current, sample.device, installed, now, around)
        found[before, _decide(changed, sample.device, installed, now, around)].append(sample.device)
    moves = [Move(before, after, len(devices), devices[:MAX_EXAMPLES]) for (before, after), devices in found.items()]
    return Simulation(sum(move.count for move in moves), sorted(moves, key=_rank))


def _rank(move: Move) -> tuple[object, ...]:
    """What moves first, the most frequent of it first; then an order that is the same each time."""
    return (not move.is_one, -move.count, str(move.before), str(move.after))


def _list_windows(program: CompiledProgram | None) -> Iterator[str]:
    for release in program.live if program else ():
        if release.window is not None:
            yield release.window.id


def _read_installed(sample: Sample, program: str) -> int | None:
    """The version that the sample's device had; None where it did not ask, or had what is no version."""
    text = sample.programs.get(program)
    if text is None:
        return None
    try:
        return parse_version(text) if text else NOT_INSTALLED
    except VersionError:
        return None


def _surround(sample: Sample, windows: Collection[str]) -> Circumstances:
    members = frozenset(sample.windows)
    return Circumstances(
        dict.fromkeys(sample.audiences, _HELD),
        {id_: _MEMBER if id_ in members else _OPEN for id_ in windows},
        sample.proven,
    )


def _decide(
    program: CompiledProgram | None, device: Device, installed: int, now: int, around: Circumstances
) -> Outcome:
    if program is None:
        return Outcome(None, None, None)
    release, reason = evaluate(program, device, installed, now, around)
    return (
        Outcome(None, None, reason) if release is None else Outcome(release.id, format_version(release.version), reason)
    )
