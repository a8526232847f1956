"""What reads published documents, under made-up bytes: documents of each kind, envelopes, heads and roots.

They come through the functions that a syncer and a worker use, without what catches surprises there. What is taken is
asked a few questions, and the oracle, which shares no code with the edge, is asked the same.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, cast

import msgspec
import orjson

from channel import DOCUMENT_TYPE, ChannelError, DocumentName, FoundHead, Position, open_envelope, open_head
from contract.oracle import decide
from contract.oracle import decide_switch as decide_by_oracle
from contract.vector import load_switch_vectors, load_vectors
from edge.answer import Entry, Workspace, compile_entry
from edge.cache import Document, Refusal
from edge.errors import RefusedError
from edge.kind import AUDIENCE, KINDS, PROGRAM, SWITCHES
from edge.question import Question
from edge.switch import Board, SwitchSet
from edge.syncer import judge_document
from ruleset import (
    NOT_INSTALLED,
    AudienceDocument,
    Binder,
    Circumstances,
    Device,
    DocumentError,
    Program,
    Reason,
    compile_patterns,
    decide_switch,
    encode,
    encode_audience,
    encode_switches,
    evaluate,
    parse_version,
)
from ruleset.document import MAX_DOCUMENT_BYTES
from ruleset.fingerprint import measure_file
from tests.contract.lists import surround
from tests.edge.press import (
    KEYS,
    NOW,
    PINNED,
    ROOT,
    ROOT_BYTES,
    WORKSPACE,
    make_audience,
    make_successor,
    seal_document,
    sign_head,
)
from tests.fuzz.dice import Dice
from tests.fuzz.finding import BrokenError
from tests.fuzz.mutation import change_bytes, change_json, splice
from trust import RootError, read_root

# How often each kind comes.
KINDS_DRAWN = [b"program"] * 10 + [b"switches"] * 4 + [b"audience"] * 2 + [b"envelope"] * 2 + [b"head", b"root"]
# Of what is taken, the share that is asked about once more, by whoever shares no code with the edge.
ORACLE_SHARE = 0.3
# A text in an error is told to people; see `ruleset.errors`.
MAX_TOLD = 1_100
BITS = [
    b"{", b"}", b"[", b"]", b'"', b":", b",", b"\\", b"\\u0000", b"\\ud800", b"null", b"true", b"1e400", b"0", b"-",
    b".", b"\x00", b"\xff", b"\xed\xa0\x80", b"\n", b" ", b'"who":{}', b'"format":2', b'"format":1,', b'{"a":1}',
    b"9" * 30, b"=", b"..", b"eyJ", b"\xef\xbb\xbf", b'"x":', b'"releases":[]', b'"packages":{}',
]  # fmt: skip
INTERESTING: list[Any] = [
    "2.3.1", "2.3.0", "14.*", "*.1", "1.2.3.4.*", "r1", "trial", "demo", "u-1", "beta", "a" * 33,
    "AGE-SECRET-KEY-1" + "Q" * 58, "AGE-SECRET-KEY-1", {"users": ["u-1"]},
    {"percent": {"parts": 500_000, "salt": "s"}},
    {"percent": {"parts": 1_000_000, "salt": "s", "by": "user", "steps": [{"at": NOW, "parts": 1_000_000}]}},
    {"audiences": ["beta"]}, {"audiences": ["beta", "beta", "none"]},
    {"window": {"limit": 1, "closes_at": NOW + 9, "id": "0" * 16, "key": "k1"}}, {},
    [{"attribute": "os", "op": "between", "values": ["1", "14.*"]}],
    [{"attribute": "model", "op": "prefix", "values": ["MI", "\u00df"]}],
    [{"attribute": "tags.vip", "op": "in", "values": ["1"]}],
    [{"attribute": "app", "op": "not_in", "values": ["10.*"]}],
    [{"attribute": "installed", "op": "outside", "values": ["1", "2"]}],
    [{"attribute": "network", "op": "in", "values": ["cellular"]}], {"android": {}},
    {"android": {"min": "10", "max": "9"}}, {"ios": {"min": "1.*"}, "harmony": {"max": "2"}}, {"from": ["9.9"]},
    {"from": ["2.3.1"]}, NOW, NOW - 1, NOW + 1, {"poll_after": 5, "until": NOW + 1}, 1 << 30, (1 << 30) + 1,
    10_000_001, 1_000_001, ["*a", "?", "[!a]*", "[", "[a-", "***", "a" * 64], "no-such", {"on": True, "off": False},
    {"on": {"a": [1, {"b": 2}]}}, {"on": 1.5}, "boolean", "string", "integer", "float", "object", "disabled",
]  # fmt: skip
DEVICES: list[dict[str, Any]] = [
    {"id": "d-1", "platform": "android"},
    {
        "id": "d-2",
        "platform": "ios",
        "user": "u-1",
        "os": "14.1",
        "app": "10.2.3",
        "model": "MI 10",
        "network": "5g",
        "tags": {"vip": "1"},
    },
    {
        "id": "\u00df",
        "platform": "harmony",
        "user": "",
        "os": "x",
        "app": "",
        "city": " ",
        "locale": "zh-CN",
        "tags": {},
    },
]
LISTS: dict[str, Any] = {
    "audiences": {"beta": ["u-1", "\u00df"], "qa": []},
    "windows": {"0" * 16: {"members": ["d-1"], "is_open": True}, "f" * 16: {"members": [], "is_open": False}},
}
INSTALLED = ["", "1.0.0", "2.3.0", "2.3.1", "65535.65535.65535.65535"]
MOMENTS = [0, 1, NOW - 1, NOW, NOW + 1, (1 << 40) - 1]
_ANSWERED: Final = {Reason.INSTALL, Reason.ROLLBACK}
_SCHEME: Final = {PROGRAM: encode, AUDIENCE: encode_audience, SWITCHES: encode_switches}


class Gullible:
    """A key that takes any signature for its own, so that what is behind it is reached."""

    algorithm = KEYS["channel"].public.algorithm

    def verify(self, _data: bytes, _signature: bytes) -> bool:
        """Says yes."""
        return True


class DocumentTarget:
    """Makes inputs, and judges what becomes of each.

    Args:
        folder: not used; nothing is written.
    """

    name = "documents"

    def __init__(self, folder: Path) -> None:
        del folder
        texts = list({orjson.dumps(one): None for vector in load_vectors() for one in vector.documents})
        switches = list({orjson.dumps(one): None for vector in load_switch_vectors() for one in vector.documents})
        self._seeds: dict[str, list[bytes]] = {
            PROGRAM: [text for text in texts if len(text) < 4_000],
            SWITCHES: [text for text in switches if len(text) < 4_000],
            AUDIENCE: [orjson.dumps(one) for one in _make_audiences()],
        }
        self._envelopes = [seal_document(orjson.loads(text)) for texts in self._seeds.values() for text in texts[:12]]
        self._heads = [sign_head(Position(1, 7)), sign_head(Position(1, 0), 0), sign_head(Position(2, 9))]
        self._roots = [ROOT_BYTES, make_successor(), make_successor(epoch=2), make_successor(5)]
        self._genuine = {envelope.partition(b"\n")[2] for envelope in self._envelopes}
        keys = {KEYS["channel"].public.kid: cast("Any", Gullible())}
        self._credulous = cast("Any", SimpleNamespace(keys=lambda _: keys, epoch=1))
        self._keys: Mapping[str, Any] = keys
        self._devices = [msgspec.convert(device, Device) for device in DEVICES]
        self._around = surround(LISTS)
        self.begin(0)

    def close(self) -> None:
        """Nothing was begun."""

    def begin(self, block: int) -> None:
        """What inputs share is new with each block: the sheet on which conditions are numbered, and a workspace."""
        del block
        self._binder = Binder()
        self._workspace = Workspace(WORKSPACE, {3: ROOT_BYTES})
        self._workspace.around = self._around

    def make(self, dice: Dice) -> list[bytes]:
        """Returns a kind, and bytes for it."""
        kind = dice.pick(KINDS_DRAWN)
        if kind == b"envelope":
            return [kind, self._make_envelope(dice)]
        if kind == b"head":
            return [kind, b"1", dice.pick([b"7", b"0", b"9", b"07", b"-1", b"9" * 20, b""]), self._make_head(dice)]
        if kind == b"root":
            return [kind, self._make_root(dice)]
        return [kind, self._make_text(dice, kind.decode())]

    def _make_text(self, dice: Dice, kind: str) -> bytes:
        seeds = self._seeds[kind]
        text = dice.pick(seeds)
        if dice.chance(0.9):
            text = change_json(dice, text, INTERESTING)
        if dice.chance(0.15):
            text = change_bytes(dice, text, BITS)
        if dice.chance(0.02):
            text = splice(dice, text, dice.pick(seeds))
        if dice.chance(0.0005):
            text = text[:-1] + b" " * (MAX_DOCUMENT_BYTES - dice.below(2) * len(text)) + text[-1:]
        return text

    def _make_envelope(self, dice: Dice) -> bytes:
        envelope = dice.pick(self._envelopes)
        line, _, payload = envelope.partition(b"\n")
        how = dice.below(5)
        if how == 0:
            return change_bytes(dice, envelope, BITS)
        if how == 1:
            return change_bytes(dice, line, BITS) + b"\n" + payload
        if how == 2:
            return line + b"\n" + change_json(dice, payload, INTERESTING)
        if how == 3:
            return splice(dice, envelope, dice.pick(self._envelopes))
        return _change_header(dice, line) + b"\n" + payload

    def _make_head(self, dice: Dice) -> bytes:
        line, _, payload = dice.pick(self._heads).partition(b"\n")
        if dice.chance(0.3):
            line = change_bytes(dice, line, BITS)
        return line + b"\n" + (change_json(dice, payload, INTERESTING) if dice.chance(0.7) else payload)

    def _make_root(self, dice: Dice) -> bytes:
        root = dice.pick(self._roots)
        how = dice.below(4)
        if how == 0:
            return change_bytes(dice, root, BITS)
        if how == 1:
            return change_json(dice, root, INTERESTING)
        tree = orjson.loads(root)
        payload = msgspec.json.decode(_decode(tree["payload"]))
        tree["payload"] = _encode(change_json(dice, orjson.dumps(payload), INTERESTING))
        return orjson.dumps(tree)

    def judge(self, parts: Sequence[bytes], dice: Dice) -> str:
        """Returns what became of an input, in a word or two.

        Raises:
            BrokenError: a promise was broken.
        """
        kind, *rest = parts
        if kind == b"envelope":
            return self._judge_envelope(rest[0], dice)
        if kind == b"head":
            return self._judge_head(*rest)
        if kind == b"root":
            return _judge_root(rest[0])
        return self._judge_document(kind.decode(), rest[0], dice)

    def _judge_document(self, kind: str, payload: bytes, dice: Dice) -> str:
        try:
            read = KINDS[kind].read(payload)
            compiled = KINDS[kind].judge(read.document)
        except DocumentError as error:
            _judge_error(error)
            return f"{kind} refused"
        is_asked = dice.chance(ORACLE_SHARE)
        if is_asked:
            self._judge_canonical(kind, read.document)
        if isinstance(compiled, Entry):
            self._ask_program(read.document, compiled, payload, dice, is_asked=is_asked)
        elif isinstance(compiled, SwitchSet):
            self._ask_switches(compiled, payload, dice, is_asked=is_asked)
        else:
            _ask_audience(read.document)
        return f"{kind} taken"

    def _judge_canonical(self, kind: str, document: Any) -> None:
        """What compiles can be told again, and says the same."""
        again = _SCHEME[kind](document)
        if len(again) <= MAX_DOCUMENT_BYTES and KINDS[kind].read(again).document != document:
            raise BrokenError(f"what is encoded again says something else: {again!r}")

    def _ask_program(self, document: Program, entry: Entry, payload: bytes, dice: Dice, *, is_asked: bool) -> None:
        which, text, now = dice.below(len(DEVICES)), dice.pick(INSTALLED), dice.pick(MOMENTS)
        device, installed = self._devices[which], parse_version(text) if text else NOT_INSTALLED
        around = self._around
        if dice.chance(0.3):
            trials = {document.program: parse_version(dice.pick(INSTALLED[1:]))}
            around = Circumstances(around.audiences, around.windows, is_proven=True, trials=trials)
        release, reason = evaluate(entry, device, installed, now, around)
        if reason in _ANSWERED and (release is None or (release.path, reason) not in entry.updates):
            raise BrokenError(f"decided {reason} for {release and release.path}, and nothing is there to be told")
        if not is_asked:
            return
        found = {"release": None if release is None else release.id, "reason": reason.value}
        question = {"workspace": WORKSPACE, "device": DEVICES[which], "programs": {document.program: text}}
        lists = {**LISTS, "proven": around.is_proven}
        if around.trials:
            lists["trials"] = {document.program: _tell_version(around.trials[document.program])}
        wanted = decide(json.loads(payload), question, document.program, now, lists)
        if found != wanted:
            raise BrokenError(f"decided {found}, the oracle {wanted}: {question} at {now} with {lists}")
        self._ask_workspace(document, device, text, now, (release, reason))

    def _ask_workspace(self, document: Program, device: Device, text: str, now: int, decided: Any) -> None:
        """A worker's own entry, on a sheet with others, decides the same, and its answer is JSON."""
        entry = compile_entry(document, self._binder.open_sheet())
        installed = parse_version(text) if text else NOT_INSTALLED
        release, reason = evaluate(entry, device, installed, now, self._around)
        alone = evaluate(compile_entry(document), device, installed, now, self._around)
        if (release and release.id, reason) != (alone[0] and alone[0].id, alone[1]):
            raise BrokenError(f"decided {release} {reason} on a sheet with others, {decided} alone")
        self._workspace.apply({document.program: entry}, Position(1, 1))
        question = Question(WORKSPACE, device, {document.program: text})
        try:
            answer = self._workspace.answer(question, now, can_wait=False)
        except RefusedError as error:
            raise BrokenError(f"an answer is refused: {error}") from None
        if orjson.loads(cast("bytes", answer)).keys() - {"unknown"} != {"revision", "root", "poll_after", "updates"}:
            raise BrokenError(f"an answer that is none: {answer!r}")

    def _ask_switches(self, compiled: SwitchSet, payload: bytes, dice: Dice, *, is_asked: bool) -> None:
        which, now = dice.below(len(DEVICES)), dice.pick(MOMENTS)
        device = self._devices[which]
        satisfied = compiled.gather(device)
        document = json.loads(payload) if is_asked else None
        for switch in compiled.switches:
            variant, reason = decide_switch(switch, device, satisfied, now, self._around)
            if document is None:
                continue
            found = {"variant": variant, "reason": reason.value}
            wanted = decide_by_oracle(document["flags"][switch.key], {"tags": {}, **DEVICES[which]}, now, LISTS)
            if found != wanted:
                raise BrokenError(f"decided {found} for {switch.key}, the oracle {wanted}: {DEVICES[which]} at {now}")
        if is_asked:
            board = Board({compiled.id: compiled})
            board.make_etag(device, now)
            items = b",".join([told.item for told in board.tell_all(device, now, self._around)])
            if len(orjson.loads(b"[%b]" % items)) != len(compiled.switches):
                raise BrokenError(f"expected an item for each of {len(compiled.switches)} switches, got {items!r}")

    def _judge_envelope(self, envelope: bytes, dice: Dice) -> str:
        """What a syncer finds in Redis: for keys that believe anything, and for the true ones."""
        name = DocumentName(dice.pick([PROGRAM, SWITCHES, AUDIENCE]), "2021000000000001")
        judged = judge_document(envelope, WORKSPACE, name, self._credulous, None)
        if isinstance(judged, Refusal) and judged.reason.startswith("it cannot be compiled"):
            raise BrokenError(judged.reason)
        if not isinstance(judged, Document):
            return "envelope refused"
        if isinstance(judge_document(envelope, WORKSPACE, name, ROOT, None), Document):
            if open_envelope(envelope, ROOT.keys("channel"), DOCUMENT_TYPE) not in self._genuine:
                raise BrokenError("taken, and never signed")
            return "envelope taken"
        return "envelope refused for its signature alone"

    def _judge_head(self, epoch: bytes, revision: bytes, signed: bytes) -> str:
        try:
            head = open_head(FoundHead(epoch, revision, signed), self._keys, WORKSPACE, 1)
        except ChannelError:
            return "head refused"
        if head.position != Position.parse(epoch + b"-" + revision):
            raise BrokenError(f"taken at {epoch!r}, {revision!r}, which says {head.position}")
        return "head taken"


def _judge_root(document: bytes) -> str:
    try:
        read_root(document)
        PINNED.add(document)
    except RootError:
        return "root refused"
    return "root taken"


def _judge_error(error: DocumentError) -> None:
    if (
        not error.path.startswith("$")
        or not error.message
        or len(str(error)) > MAX_TOLD
        or not str(error).isprintable()
    ):
        raise BrokenError(f"a refusal without a place or a reason, or too long a one: {error!r}")


def _ask_audience(document: AudienceDocument) -> None:
    fits = compile_patterns(document.patterns, "$.patterns")
    for user in ("u-1", "", "a" * 256, "\u00df"):
        fits(user)


def _make_audiences() -> list[dict[str, Any]]:
    file = {"key": "k1", "count": 2, "size": measure_file(2), "sha256": "a" * 64, "url": "/v1/files/" + "a" * 64}
    return [
        make_audience(patterns=["u-*", "[ab]?"]),
        make_audience(removed=True),
        make_audience(**file),
        make_audience(**file | {"patterns": ["*"]}),
    ]


def _tell_version(key: int) -> str:
    return ".".join(str(key >> shift & 0xFFFF) for shift in (48, 32, 16, 0))


def _change_header(dice: Dice, line: bytes) -> bytes:
    header, _, rest = line.partition(b".")
    changed = change_json(dice, _decode(header.decode()), INTERESTING)
    return _encode(changed).encode() + b"." + rest


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
