"""What a device is told: entries whose answers are encoded when a document is loaded, and the join at a check.

An entry is immutable and replaced whole. Nothing between looking the programs up and returning the bytes may await.
"""

from collections.abc import Callable, Container, Iterable, Mapping
from typing import NamedTuple

import orjson
from msgspec import Struct
from msgspec.structs import asdict, replace

from channel import NOWHERE, Position
from edge.package import Packed, Shelf, find_packages
from edge.question import VERSIONS, Question
from edge.switch import NO_SWITCHES, Board, SwitchSet
from edge.trial import Trials
from ruleset import (
    DEFAULT_POLL_AFTER_S,
    NOTHING_KNOWN,
    TRIAL_ID,
    Audience,
    Circumstances,
    CompiledProgram,
    CompiledRelease,
    Decision,
    Device,
    DocumentError,
    Package,
    Program,
    Reason,
    Release,
    Sheet,
    Transfer,
    Window,
    compile_program,
    evaluate,
    parse_version,
    spread_poll,
)
from ruleset.compiler import CompiledWindow

# An answer with nothing to do is one of few: remembered by its poll interval, which base and spread decide.
MAX_IDLE_ANSWERS = 4_096

_CURRENT, _NO_RELEASE, _ASK = Reason.CURRENT, Reason.NO_RELEASE, Reason.ASK


class Update(Struct, frozen=True, gc=False):
    """One update's JSON, ready to join: for most devices, and by installed version where a delta starts there."""

    full: bytes
    by_base: dict[int, bytes]


class Entry(CompiledProgram, frozen=True, gc=False):
    """One program as a worker holds it, with its answers: by (a release's path, reason), a take-down's by ("", remove).

    Until `urgent_until` devices ask again after `urgent_poll_after`, then after `poll_after`.
    """

    poll_after: int
    urgent_poll_after: int
    urgent_until: int
    offers_expire: int
    updates: dict[tuple[str, Reason], Update]
    position: Position
    packages: dict[str, Packed]
    windows: tuple[CompiledWindow, ...]
    audiences: frozenset[str]


def compile_entry(document: Program, sheet: Sheet | None = None) -> Entry:
    """Returns a published document, compiled (on `sheet`, or on one of its own) and with its answers encoded.

    Raises:
        DocumentError: the document does not compile, or an offer that a live release needs is missing.
    """
    program = compile_program(document, sheet)
    if document.offers is None:
        raise DocumentError("$.offers", "expected the publisher's offers, got none")
    position = Position(document.epoch, document.revision)
    updates = dict(_encode_updates(program, document))
    return Entry(
        **asdict(program),
        poll_after=document.poll_after,
        urgent_poll_after=min(document.urgent.poll_after, document.poll_after) if document.urgent else 0,
        urgent_until=document.urgent.until if document.urgent else 0,
        offers_expire=document.offers.expires,
        updates=updates,
        position=position,
        packages=find_packages(document),
        windows=tuple(release.window for release in program.live if release.window is not None),
        audiences=frozenset().union(*(release.audiences for release in program.live)),
    )


def _encode_updates(program: CompiledProgram, document: Program) -> Iterable[tuple[tuple[str, Reason], Update]]:
    offers = document.offers
    assert offers is not None  # noqa: S101 - its only caller has looked
    if program.taken_down:
        if not offers.remove:
            raise DocumentError("$.offers.remove", "expected an offer for the take-down, got none")
        removal = {"program": program.id, "action": "remove", "offer": offers.remove}
        yield ("", Reason.REMOVE), Update(_dump(removal), {})
        return
    for release, told in zip(program.releases, document.releases, strict=True):
        if told.state == "live":
            yield (release.path, Reason.INSTALL), _encode_release(document, told, Reason.INSTALL, offers.install)
            if release.rollback_from:
                update = _encode_release(document, told, Reason.ROLLBACK, offers.rollback)
                yield (release.path, Reason.ROLLBACK), update
    # A version may stand there twice, and is then written the same.
    for trial, version in zip(program.trials.values(), dict.fromkeys(document.trials), strict=True):
        told = Release(TRIAL_ID, version)
        yield (trial.path, Reason.INSTALL), _encode_release(document, told, Reason.INSTALL, offers.install)


def _encode_release(document: Program, release: Release, action: Reason, offers: Mapping[str, str]) -> Update:
    version = release.package
    package = document.packages[version]
    if version not in offers:
        raise DocumentError(f"$.offers.{action}", f"expected an offer for {version!r}, got none")
    head: dict[str, object] = {
        "program": document.program,
        "version": version,
        "release": release.id,
        "action": action,
        "urgency": release.urgency,
        "download": package.download,
        "install": package.install,
        "size": package.size,
        "sha256": package.sha256,
        "signature": package.signature,
        "offer": offers[version],
    }
    bases = {parse_version(transfer.base) for transfer in package.transfers if transfer.base}
    return Update(
        _encode_with_transfers(head, package, -1), {base: _encode_with_transfers(head, package, base) for base in bases}
    )


def _encode_with_transfers(head: dict[str, object], package: Package, base: int) -> bytes:
    """Transfers that start from the device's own version come first; deltas from other versions are left out."""
    deltas = [transfer for transfer in package.transfers if transfer.base and parse_version(transfer.base) == base]
    full = [transfer for transfer in package.transfers if not transfer.base]
    transfers = [_tell_transfer(transfer) for transfer in (*deltas, *full)]
    sealed = {"key": package.key} if package.key else {}
    return _dump(head | {"transfers": transfers, "extra": package.extra} | sealed)


def _dump(value: object) -> bytes:
    """JSON that stays, in as many bytes as it has: orjson gives each text a buffer of at least 8 KB, and keeps it."""
    return bytes(memoryview(orjson.dumps(value)))


def _tell_transfer(transfer: Transfer) -> dict[str, object]:
    base = {"from": transfer.base} if transfer.base else {}
    return {"format": transfer.format, **base, "url": transfer.url, "size": transfer.size, "sha256": transfer.sha256}


_UPDATES, _SWITCHES = b'"updates":[', b',"switches":{'


def is_idle(answer: bytes) -> bool:
    """Says whether an answer of `Workspace.answer` tells of nothing to do; programs that are unknown are nothing to do.

    Before `updates` there are numbers alone, and no string has a quote in it that is not escaped.
    """
    begin = answer.find(_UPDATES) + len(_UPDATES)
    return answer.startswith(b"]", begin) and _SWITCHES not in answer


class Ask(NamedTuple):
    """Somebody for whom a window has to be asked."""

    window: str
    identity: str


class Unanswered(Struct, frozen=True, gc=False):
    """A check that has no answer before some windows were asked; `now` is the time of its arrival, in seconds.

    All that could refuse it has been asked before: what is left is to be answered.
    """

    workspace: "Workspace"
    question: Question
    now: int
    is_proven: bool
    trials: Mapping[str, int] | None
    asks: list[Ask]

    def answer_again(self, refused: Container[str]) -> "bytes | Unanswered":
        """Returns the answer after windows were asked; `refused` are the ids of those that had no place."""
        return self.workspace.answer(
            self.question, self.now, is_proven=self.is_proven, trials=self.trials, refused=refused
        )

    def give_up(self, refused: Container[str] = ()) -> bytes:
        """Returns the answer without any place that is not known by now."""
        answer = self.workspace.answer(
            self.question, self.now, is_proven=self.is_proven, trials=self.trials, refused=refused, can_wait=False
        )
        assert isinstance(answer, bytes)  # noqa: S101 - who cannot wait asks for nothing
        return answer


class Workspace:
    """One workspace as a worker holds it: its entries by program id, and what its answers begin with.

    `owed` are the programs that lie in edge.db and have no entry yet: whoever asks for one first has it made then;
    `windowed`, `timed` and `listed` are the entries that have windows, that change by the clock and that ask audiences.

    Args:
        name: as devices call it.
        roots: the root documents that are known, by their numbers, one at least.
    """

    __slots__ = (
        "_bring",
        "_idle",
        "_mark",
        "_prefix",
        "around",
        "around_proven",
        "entries",
        "listed",
        "name",
        "owed",
        "position",
        "root",
        "roots",
        "shelf",
        "switches",
        "timed",
        "trials",
        "windowed",
    )

    def __init__(self, name: str, roots: Mapping[int, bytes]) -> None:
        self.name = name
        self.entries: dict[str, Entry] = {}
        self.windowed: dict[str, Entry] = {}
        self.timed: dict[str, Entry] = {}
        self.listed: dict[str, Entry] = {}
        self.owed: set[str] = set()
        self._bring: Callable[[Iterable[str]], None] = _bring_nothing
        self.shelf = Shelf()
        self.position = NOWHERE
        self.around = NOTHING_KNOWN
        self.around_proven = replace(NOTHING_KNOWN, is_proven=True)
        self.switches = NO_SWITCHES
        self._mark = b""
        self.trials = Trials(name)
        self.follow_roots(roots)

    def follow_roots(self, roots: Mapping[int, bytes]) -> None:
        """Replaces the root documents; answers tell the newest one's number from now on."""
        self.roots = roots
        self.root = max(roots)
        self.trials.follow(roots[self.root])
        self.apply({}, self.position)

    def surround(
        self,
        audiences: Mapping[str, Audience] | None = None,
        windows: Mapping[str, Window] | None = None,
        mark: bytes | None = None,
    ) -> None:
        """Replaces the lists that checks are decided by, in one step; what is left out stays.

        `mark` stands for the audiences: the same bytes wherever the same ones are held.
        """
        before = self.around
        self.around = Circumstances(
            before.audiences if audiences is None else audiences, before.windows if windows is None else windows
        )
        self.around_proven = replace(self.around, is_proven=True)
        if mark is not None:
            self._mark = mark
            self.switches = Board(self.switches.sets, mark)

    def hang(self, changed: Mapping[str, SwitchSet]) -> None:
        """Replaces switch sets, in one step; one that is older than the one here comes from an older source."""
        sets = self.switches.sets
        fresh = {name: one for name, one in changed.items() if name not in sets or sets[name].position <= one.position}
        if fresh:
            self.switches = Board({**sets, **fresh}, self._mark)

    def __contains__(self, program: object) -> bool:
        return program in self.entries or program in self.owed

    def owe(self, programs: Iterable[str], bring: Callable[[Iterable[str]], None]) -> None:
        """Says which programs there are that have no entry yet.

        Args:
            programs: their ids.
            bring: makes the entries of some of them, and settles each; raises RefusedError where it cannot be read.
        """
        self.owed, self._bring = set(programs), bring

    def settle(self, program: str, entry: Entry | None) -> None:
        """Takes the entry of a program that was owed; None for one whose document is no good."""
        self.owed.discard(program)
        if entry is not None:
            self._put(program, entry)

    def _put(self, program: str, entry: Entry) -> None:
        held = self.entries.get(program)
        self.shelf.replace(held.packages if held else {}, entry.packages)
        self.entries[program] = entry
        for kept, reason in (
            (self.windowed, entry.windows), (self.timed, entry.changes), (self.listed, entry.audiences),
        ):  # fmt: skip
            if reason:
                kept[program] = entry
            else:
                kept.pop(program, None)

    def has_newer(self, program: str, entry: Entry) -> bool:
        """Says whether a program's entry is newer than this one: then this one comes from an older source."""
        held = self.entries.get(program)
        return held is not None and held.position > entry.position

    def apply(self, changed: Mapping[str, Entry], position: Position) -> None:
        """Replaces the entries of a batch of changes, in one step: a check sees all of it or nothing."""
        for program, entry in changed.items():
            self._put(program, entry)
        self.owed.difference_update(changed)
        self.position = position
        self._prefix = b'{"revision":%d,"root":%d,"poll_after":' % (position.revision, self.root)
        self._idle: dict[int, bytes] = {}

    def is_of_now(self, answer: bytes) -> bool:
        """Says whether nothing has been applied since an answer was made."""
        return answer.startswith(self._prefix)

    def answer(  # noqa: C901 - one loop; a call more would cost each check 0.1 us
        self,
        question: Question,
        now: int,
        *,
        is_proven: bool = False,
        trials: Mapping[str, int] | None = None,
        refused: Container[str] = (),
        can_wait: bool = True,
    ) -> bytes | Unanswered:
        """Returns the JSON answer to a question at a time in seconds, or what has to be asked before.

        Args:
            question: what the device asks.
            now: seconds since 1970.
            is_proven: whether the device's user was proven.
            trials: the versions that the user's trials give, by program; None where there are none.
            refused: the ids of windows that were asked for this device and had no place.
            can_wait: False for an answer now, where what would have to be asked has no place.

        Raises:
            RefusedError: `bad_field`, an installed version that is none; `no_ruleset`, a program that cannot be read.
        """
        if self.owed:  # for some seconds after a start
            self._bring(self.owed.intersection(question.programs))
        device, entries = question.device, self.entries
        around = self.around_proven if is_proven else self.around
        if trials:
            around = replace(around, trials=trials)
        base: int | None = None
        updates: list[bytes] = []
        unknown: list[str] = []
        asks: list[Ask] | None = None
        for program, version in question.programs.items():
            installed = VERSIONS[version]
            entry = entries.get(program)
            if entry is None:
                unknown.append(program)
                continue
            poll_after = entry.poll_after if now >= entry.urgent_until else entry.urgent_poll_after
            if base is None or poll_after < base:
                base = poll_after
            release, reason = evaluate(entry, device, installed, now, around, refused)
            if reason is not _CURRENT and reason is not _NO_RELEASE and now < entry.offers_expire:
                if reason is _ASK:
                    if can_wait:
                        asks = asks or []
                        asks.append(_make_ask(release, device))
                        continue
                    release, reason = _decide_without(entry, device, installed, now, around, refused)
                update = entry.updates.get(("" if release is None else release.path, reason))
                if update is not None:
                    updates.append(update.by_base.get(installed, update.full))
        if asks:
            return Unanswered(self, question, now, is_proven, trials, asks)
        poll_after = spread_poll(DEFAULT_POLL_AFTER_S if base is None else base, device.id, now)
        if updates or unknown or question.switches:
            return self._encode(poll_after, updates, unknown, self._encode_switches(question, now, around))
        return self._idle.get(poll_after) or self._remember_idle(poll_after)

    def _encode(self, poll_after: int, updates: list[bytes], unknown: list[str], switches: bytes = b"") -> bytes:
        tail = b'],"unknown":%b%b}' % (orjson.dumps(unknown), switches) if unknown else b"]%b}" % switches
        return b'%b%d,"updates":[%b%b' % (self._prefix, poll_after, b",".join(updates), tail)

    def _encode_switches(self, question: Question, now: int, around: Circumstances) -> bytes:
        """The members with switches, each with its comma before it; nothing where the device has them already."""
        wanted, board, device = question.switches, self.switches, question.device
        if not wanted:
            return b""
        keys = () if wanted is True else wanted
        tag = board.make_etag(device, now, keys)
        if question.switches_etag == tag[1:-1].decode():
            return b""
        told = board.tell_some(keys, device, now, around) if keys else board.tell_all(device, now, around)
        return b',"switches":{%b},"switches_etag":%b' % (b",".join([one.member for one in told]), tag)

    def _remember_idle(self, poll_after: int) -> bytes:
        if len(self._idle) >= MAX_IDLE_ANSWERS:
            self._idle.clear()
        answer = self._idle[poll_after] = self._encode(poll_after, [], [])
        return answer


def _bring_nothing(programs: Iterable[str]) -> None:
    """What a workspace does that is owed nothing."""


def _make_ask(release: CompiledRelease | None, device: Device) -> Ask:
    assert release is not None  # noqa: S101 - `ask` is said of a release's window
    assert release.window is not None  # noqa: S101
    identity = device.user if release.window.proven else device.id
    return Ask(release.window.id, identity or "")


def _decide_without(
    entry: Entry, device: Device, installed: int, now: int, around: Circumstances, refused: Container[str]
) -> Decision:
    """Decides without any place that would have to be asked for; as many windows as a document has at most."""
    without = {window.id for window in entry.windows if window.id in refused}
    while True:
        release, reason = evaluate(entry, device, installed, now, around, without)
        if reason is not _ASK:
            return release, reason
        without.add(_make_ask(release, device).window)
