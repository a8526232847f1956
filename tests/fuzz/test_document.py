"""What reads documents, fuzzed for a few seconds, with the findings of earlier runs; and that the fuzzer sees."""

from pathlib import Path

import orjson
import pytest

import edge.kind
import tests.fuzz.document
from edge.kind import KINDS, PROGRAM, Kind
from tests.edge.press import make_document
from tests.fuzz.campaign import BLOCK, judge_again, run_block
from tests.fuzz.dice import Dice
from tests.fuzz.document import DocumentTarget, Gullible
from tests.fuzz.finding import BrokenError
from trust import RootError

CORPUS = sorted((Path(__file__).parent / "corpus" / "documents").glob("*.json"))
SEED = 1
GOOD = orjson.dumps(make_document())
KNOWN = {f"{kind} {how}" for kind in ("program", "switches", "audience", "root") for how in ("taken", "refused")}


@pytest.fixture
def target(tmp_path: Path) -> DocumentTarget:
    """What reads documents, ready to be fuzzed."""
    return DocumentTarget(tmp_path)


@pytest.mark.parametrize("block", range(10))
def test_nothing_is_broken(target: DocumentTarget, block: int) -> None:
    """Whatever bytes come: taken, and decided as the oracle decides, or refused with a documented error."""
    tally = run_block(target, SEED, block, BLOCK)
    assert [finding.problem for finding in tally.findings] == []
    assert tally.outcomes["program taken"] > BLOCK / 40
    assert len(tally.outcomes.keys() & KNOWN) >= len(KNOWN) - 2


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_earlier_findings(target: DocumentTarget, path: Path) -> None:
    """What once broke a promise does so no more."""
    assert judge_again(target, path) == ""


def judge(target: DocumentTarget, kind: bytes, *rest: bytes) -> str:
    """What became of an input; the oracle is asked."""
    return target.judge([kind, *rest], Dice("1"))


def test_outcomes(target: DocumentTarget) -> None:
    """An input has a word for what became of it."""
    assert judge(target, b"program", GOOD) == "program taken"
    assert judge(target, b"program", b"{") == "program refused"
    assert judge(target, b"envelope", b"\n" + GOOD) == "envelope refused"
    assert judge(target, b"root", b"{}") == "root refused"
    assert judge(target, b"head", b"1", b"7", b"{}") == "head refused"


def test_sees_another_decision(target: DocumentTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    """A decision that is not the oracle's is found out."""
    monkeypatch.setattr("tests.fuzz.document.ORACLE_SHARE", 1.1)
    wrong = {"release": None, "reason": "gone"}
    monkeypatch.setattr(tests.fuzz.document, "decide", lambda *_: wrong)
    with pytest.raises(BrokenError, match="the oracle"):
        judge(target, b"program", GOOD)


def test_sees_what_is_taken_without_a_signature(target: DocumentTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    """A document that nobody has signed, and that is taken all the same, is found out."""
    monkeypatch.setattr("tests.fuzz.document.ROOT", target._credulous)
    line = target._envelopes[0].partition(b"\n")[0]
    document = orjson.dumps(make_document(program="2021000000000001"))
    monkeypatch.setattr("tests.fuzz.document.open_envelope", lambda *_: document)
    monkeypatch.setattr(Dice, "pick", lambda _, choices: choices[0])
    with pytest.raises(BrokenError, match="never signed"):
        judge(target, b"envelope", line + b"\n" + document)


def test_sees_a_refusal_without_a_place(target: DocumentTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal that does not say where, and an error of another kind, are found out."""

    def fail(_: bytes) -> edge.kind.Read:
        raise edge.kind.DocumentError("", "wrong")

    monkeypatch.setattr(tests.fuzz.document, "KINDS", {PROGRAM: Kind(fail, KINDS[PROGRAM].judge)})
    with pytest.raises(BrokenError, match="without a place"):
        judge(target, b"program", GOOD)

    def surprise(_: bytes) -> edge.kind.Read:
        raise RootError("surprise")

    monkeypatch.setattr(tests.fuzz.document, "KINDS", {PROGRAM: Kind(surprise, KINDS[PROGRAM].judge)})
    with pytest.raises(RootError):
        judge(target, b"program", GOOD)


def test_a_gullible_key_believes_anything() -> None:
    """So that what lies behind a signature is reached."""
    assert Gullible().verify(b"", b"")
