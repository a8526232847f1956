"""The lane, fuzzed for a few seconds, with the findings of earlier runs; and that the fuzzer sees what it looks for."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import edge.lane
from edge.app import Handler
from edge.head import HeadReader, Verdict
from edge.response import Writer
from tests.edge.test_lane import CHECK, make_check
from tests.fuzz.campaign import BLOCK, WAYS, judge_again, run_block
from tests.fuzz.dice import Dice
from tests.fuzz.finding import BrokenError
from tests.fuzz.lane import LaneTarget

CORPUS = sorted((Path(__file__).parent / "corpus" / "lane").glob("*.json"))
# Each of the ways in which a worker may be set comes at least once.
SEED, BLOCKS = 1, 10
assert BLOCKS >= WAYS


@pytest.fixture
def target(tmp_path: Path) -> Iterator[LaneTarget]:
    """The lane, ready to be fuzzed."""
    target = LaneTarget(tmp_path)
    target.begin(0)
    yield target
    target.close()


@pytest.mark.parametrize("block", range(BLOCKS))
def test_nothing_is_broken(target: LaneTarget, block: int) -> None:
    """Whatever bytes come: answers and refusals that are documented, to messages that aiohttp finds, too."""
    tally = run_block(target, SEED, block, BLOCK)
    assert [finding.problem for finding in tally.findings] == []
    assert tally.outcomes["200"] > BLOCK / 10
    assert len(tally.outcomes) > 8


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_earlier_findings(target: LaneTarget, path: Path) -> None:
    """What once broke a promise does so no more."""
    assert judge_again(target, path) == ""


def judge(target: LaneTarget, *parts: bytes) -> str:
    """What became of an input."""
    return target.judge(parts, Dice(""))


def test_outcomes(target: LaneTarget) -> None:
    """An input has a word for what became of it."""
    assert judge(target, CHECK) == "200"
    assert judge(target, CHECK[:20], CHECK[20:]) == "200"
    assert judge(target, make_check(b"{")) == "400 malformed_json"
    assert judge(target, CHECK[:-1]) == "unfinished"
    assert judge(target, b"GET / HTTP/1.1\r\n\r\n") == "handed over"


def test_sees_what_aiohttp_refuses(target: LaneTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lane that answers a message which aiohttp refuses is found out."""
    body = CHECK.partition(b"\r\n\r\n")[2]
    monkeypatch.setattr(HeadReader, "read", lambda *_: (len(body), True, False, 0))
    assert judge(target, CHECK) == "200"
    with pytest.raises(BrokenError, match="aiohttp refuses"):
        judge(target, make_check(body, b"X-A : b"))


def test_sees_another_body(target: LaneTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lane that takes another length than the head's is found out."""
    read = HeadReader.read

    def read_less(reader: HeadReader, data: bytes, head: bytes, available: int) -> Verdict:
        length, *rest = read(reader, data, head, available)
        return length - 1, *rest

    monkeypatch.setattr(HeadReader, "read", read_less)
    with pytest.raises(BrokenError, match="aiohttp finds"):
        judge(target, CHECK)


def test_sees_an_undocumented_answer(target: LaneTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    """A status, a field or a body that no client knows is found out."""
    ok = Writer.write_ok

    def write(wrong: bytes) -> Callable[..., bytes]:
        return lambda writer, body, alive: ok(writer, body, alive).replace(b"200 OK", wrong)

    for wrong in (b"299 OK", b"200 OK\r\nX-A: b"):
        monkeypatch.setattr(Writer, "write_ok", write(wrong))
        with pytest.raises(BrokenError, match="undocumented"):
            judge(target, CHECK)
    monkeypatch.setattr(Writer, "write_ok", lambda writer, _, alive: ok(writer, b'{"revision":1}', alive))
    with pytest.raises(BrokenError, match="undocumented answer"):
        judge(target, CHECK)


def test_sees_what_hangs_on_how_bytes_come(target: LaneTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lane that answers otherwise where a check comes in pieces is found out."""
    monkeypatch.setattr("tests.fuzz.lane.WHOLE_SHARE", 1.1)
    serve = edge.lane.Lane._serve

    def forget(lane: edge.lane.Lane, data: bytes) -> bytes:
        return serve(lane, data.replace(b"keep-alive", b"close")) if lane._held else serve(lane, data)

    monkeypatch.setattr(edge.lane.Lane, "_serve", forget)
    check = make_check(CHECK.partition(b"\r\n\r\n")[2], b"Connection: keep-alive")
    with pytest.raises(BrokenError):
        judge(target, check[:50], check[50:])


def test_sees_another_answer_of_aiohttp(target: LaneTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of some inputs the whole aiohttp side is asked, too."""
    received = Handler.data_received
    monkeypatch.setattr(
        Handler, "data_received", lambda handler, data: received(handler, data.replace(b"demo", b"shop"))
    )
    with pytest.raises(BrokenError, match="the aiohttp side"):
        judge(target, CHECK)


def test_same_seed_same_inputs(tmp_path: Path) -> None:
    """An input can be had again by seed and block."""
    targets = [LaneTarget(tmp_path) for _ in range(2)]
    made: list[Any] = []
    for target in targets:
        dice = Dice("1/2")
        made.append([target.make(dice) for _ in range(400)])
        target.close()
    assert made[0] == made[1]
