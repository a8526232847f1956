"""The sample of an hour's questions: uniform over all workers, bounded, and without anybody's id."""

import random
import socket
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import orjson
import pytest

from channel import Position
from edge import sample as module
from edge.answer import Workspace
from edge.exchange import Rules
from edge.metrics import Counters
from edge.question import Question, parse_question
from edge.sample import HEADROOM, HOUR_S, MARK, MAX_HELD, MAX_SAMPLE_BYTES, NEVER, Reservoir, Sampler, make_sample
from edge.tally import MAX_PAGE_BYTES
from ruleset import NOTHING_KNOWN, Circumstances, Place, Sample
from tests.edge.press import PROGRAM, ROOT_BYTES, WORKSPACE, make_entry, make_question

Send = Callable[[Sampler], list[bytes]]
NOW = 500_000 * HOUR_S
SIZE = 50


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples of SIZE questions."""
    monkeypatch.setattr(module, "SAMPLE_SIZE", SIZE)


@pytest.fixture
def send() -> Iterator[Send]:
    """Returns the pages that a sampler sends."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    theirs.settimeout(0)

    def send(sampler: Sampler) -> list[bytes]:
        pages = []
        while sampler._held:
            sampler.send(ours)
            pages.append(theirs.recv(MAX_PAGE_BYTES))
            while True:
                try:
                    pages.append(theirs.recv(MAX_PAGE_BYTES))
                except BlockingIOError:
                    break
        return pages

    yield send
    ours.close()
    theirs.close()


def seed(number: int) -> Sampler:
    """Returns a worker's sampler that draws the same each time."""
    return Sampler(random.Random(number).random)


def ask(number: int = 1, **device: Any) -> Question:
    """Returns a question whose program's version is a number, so that it is known again."""
    facts = {"id": f"device-{number}", "platform": "android", "user": f"user-{number}", **device}
    return parse_question(orjson.dumps(make_question(device=facts, programs={PROGRAM: str(number)})))


def draw(sampler: Sampler, count: int, first: int = 0, now: int = NOW) -> list[int]:
    """Lets a worker count checks as it does, and draw; returns the numbers that were drawn."""
    drawn = []
    for number in range(first, first + count):
        if number + 1 >= sampler.next:
            drawn.append(number)
            sampler.take(ask(number), NOTHING_KNOWN, now, number + 1)
    return drawn


def read(reservoir: Reservoir, now: int = NOW, workspace: str = WORKSPACE) -> list[Sample]:
    """Returns the samples as they are exported."""
    samples = msgspec.json.decode(reservoir.tell(workspace, now), type=dict[str, list[Sample]])
    return samples["samples"]


def test_nothing_is_drawn_before_the_first_second() -> None:
    """A worker that has not begun draws nothing."""
    assert Sampler().next == NEVER


@pytest.mark.usefixtures("small")
def test_a_sample_is_uniform(send: Send) -> None:
    """Whoever asks first or last in an hour, and at whichever worker, has the same odds."""
    halves, workers = [0, 0], [0, 0]
    for number in range(40):
        reservoir = Reservoir()
        for worker, count in enumerate((2_000, 1_000)):
            sampler = seed(100 * number + worker)
            sampler.tick(NOW, 0)
            draw(sampler, count)
            for page in send(sampler):
                reservoir.take(page, NOW)
        samples = read(reservoir)
        assert len(samples) == SIZE
        first = [int(one.programs[PROGRAM]) < 500 for one in samples if int(one.programs[PROGRAM]) < 1_000]
        halves[0] += sum(first)
        halves[1] += len(first) - sum(first)
        workers[0] += sum(int(one.programs[PROGRAM]) >= 1_000 for one in samples)
        workers[1] += SIZE
    # 40 samples of 50: a third has numbers from 1,000 on, which only the first worker had; five standard deviations.
    assert abs(workers[0] / workers[1] - 1 / 3) < 5 * (2 / 9 / workers[1]) ** 0.5
    assert abs(halves[0] - halves[1]) < 5 * sum(halves) ** 0.5


@pytest.mark.usefixtures("small")
def test_few_are_drawn_of_many() -> None:
    """Once a sample is full, ever fewer questions are looked at: 50 * ln(n / 50) more."""
    drawn = 0
    for number in range(10):
        sampler = seed(number)
        sampler.tick(NOW, 0)
        assert draw(sampler, SIZE) == list(range(SIZE))
        drawn += len(draw(sampler, 10_000, SIZE))
    # Ten times 265, give or take 51.
    assert 2_500 < drawn < 2_800


@pytest.mark.usefixtures("small")
def test_a_new_hour_begins_with_the_share_of_the_last() -> None:
    """The first questions of an hour are not all drawn, but HEADROOM times as many as fill the sample."""
    sampler = seed(1)
    sampler.tick(NOW, 0)
    draw(sampler, 10_000)
    sampler.tick(NOW + HOUR_S - 1, 10_000)
    assert len(sampler._keys) == SIZE
    sampler.tick(NOW + HOUR_S, 10_000)
    assert sampler._keys == []
    assert sampler._bound == HEADROOM * SIZE / 10_000
    drawn = draw(sampler, 1_000, 10_000, NOW + HOUR_S)
    assert 5 < len(drawn) < 45


def test_an_hour_without_questions() -> None:
    """After it everything is drawn again."""
    sampler = Sampler()
    sampler.tick(NOW, 7)
    sampler.tick(NOW + HOUR_S, 7)
    assert sampler.next == 8


@pytest.mark.usefixtures("small")
def test_two_hours_are_kept(send: Send) -> None:
    """This hour and the last, each with its own sample; what is older, or of a clock that is ahead, is forgotten."""
    reservoir, sampler = Reservoir(), Sampler()
    for hour in range(3):
        now = NOW + hour * HOUR_S
        sampler.tick(now, 0)
        draw(sampler, 60, now=now)
        for page in send(sampler):
            reservoir.take(page, now)
    last = NOW + 2 * HOUR_S
    samples = read(reservoir, last)
    assert [one.at for one in samples] == [last - HOUR_S] * SIZE + [last] * SIZE
    assert {one.at for one in read(reservoir, last + HOUR_S)} == {last}
    draw(sampler, 60, now=last + HOUR_S)
    for page in send(sampler):
        reservoir.take(page, last)
    assert {one.at for one in read(reservoir, last)} == {last}


def test_workspaces_are_told_apart(send: Send) -> None:
    """Who asks for a workspace's samples gets no other's."""
    sampler, reservoir = Sampler(), Reservoir()
    sampler.tick(NOW, 0)
    draw(sampler, 3)
    for page in send(sampler):
        reservoir.take(page, NOW)
    assert len(read(reservoir)) == 3
    assert read(reservoir, workspace="shop") == []


class List:
    """An audience of user-1, and a window with a member."""

    def __init__(self, member: str = "") -> None:
        self.member = member

    def holds(self, user: str) -> bool:
        """Says whether it is that user."""
        return user == "user-1"

    def find(self, identity: str) -> Place:
        """Says whether that is the member."""
        return Place.MEMBER if identity == self.member else Place.OPEN


@pytest.mark.parametrize(("proven", "windows"), [(False, ["mine"]), (True, ["mine", "users"])])
def test_lists_are_kept_by_name(proven: bool, windows: list[str]) -> None:
    """A sample says on which lists its device and user were; hashes could not be looked up later."""
    known = {"mine": List("device-1"), "users": List("user-1"), "others": List("device-2")}
    around = Circumstances({"qa": List()}, known, proven)
    sample = make_sample(ask(1, tags={"a": "b"}), around, NOW, lambda text: f"#{len(text)}")
    assert (sample.audiences, sample.windows, sample.proven) == (["qa"], windows, proven)
    assert (sample.device.id, sample.device.user, sample.device.tags) == ("#8", "#6", {"a": "b"})
    assert (sample.at, sample.workspace, sample.programs) == (NOW, WORKSPACE, {PROGRAM: "1"})
    nobody = make_sample(ask(3, user=None), around, NOW, lambda text: text)
    assert (nobody.audiences, nobody.windows, nobody.device.user) == ([], [], None)


def test_no_id_leaves_the_worker(send: Send) -> None:
    """Neither pages nor exports have anything of an id; one device is one hash in a worker, and another in the next."""
    hashes = []
    for _ in range(2):
        reservoir, sampler = Reservoir(), Sampler()
        sampler.tick(NOW, 0)
        for check in (1, 2):
            sampler.take(ask(431_917), NOTHING_KNOWN, NOW, check)
        pages = send(sampler)
        for page in pages:
            reservoir.take(page, NOW)
        exported = reservoir.tell(WORKSPACE, NOW)
        for said in (b"device-431917", b"user-431917"):
            assert not any(said in part for part in (*pages, exported))
        one, same = read(reservoir)
        assert one.device.id == same.device.id
        hashes.append(one.device.id)
    assert hashes[0] != hashes[1]
    assert len(hashes[0]) == 32


def test_what_is_too_large_is_not_kept() -> None:
    """Made-up tags cannot fill a syncer's memory."""
    sampler = Sampler()
    sampler.tick(NOW, 0)
    sampler.take(ask(tags={f"{n}": "x" * 256 for n in range(64)}), NOTHING_KNOWN, NOW, 1)
    assert not sampler._held
    sampler.take(ask(tags={f"{n}": "x" * 256 for n in range(60)}), NOTHING_KNOWN, NOW, 2)
    assert MAX_SAMPLE_BYTES * 0.9 < len(sampler._held[0]) <= MAX_SAMPLE_BYTES


def test_a_syncer_that_does_not_hear() -> None:
    """What cannot be told is kept, up to a bound, and nothing is waited for."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    theirs.close()
    sampler = Sampler()
    sampler.tick(NOW, 0)
    for check in range(MAX_HELD + 1):
        sampler.take(ask(), NOTHING_KNOWN, NOW, check)
    sampler.send(ours)
    ours.close()
    assert len(sampler._held) == MAX_HELD


def test_pages_are_marked(send: Send) -> None:
    """The syncer tells samples from what devices report by the first byte, and pages fit a datagram."""
    sampler = Sampler()
    sampler.tick(NOW, 0)
    for check in range(200):
        sampler.take(ask(tags={f"{n}": "x" * 256 for n in range(20)}), NOTHING_KNOWN, NOW, check)
    pages = send(sampler)
    assert len(pages) > 10
    assert all(page.startswith(MARK) and len(page) < MAX_PAGE_BYTES / 2 for page in pages)


def test_rules_draw_what_they_answer() -> None:
    """A check that is drawn is answered as all others; the next one that is not due costs nothing."""
    rules = Rules({WORKSPACE: Workspace(WORKSPACE, {3: ROOT_BYTES})}, Counters())
    rules.workspaces[WORKSPACE].apply({PROGRAM: make_entry()}, Position(1, 5))
    body = orjson.dumps(make_question())
    before = rules.check(body, NOW)
    assert not rules.sampler._held
    rules.tick(NOW)
    assert rules.check(body, NOW) == before
    assert len(rules.sampler._held) == 1
    rules.sample_at = 4
    rules.check(body, NOW)
    assert len(rules.sampler._held) == 1
    rules.check(body, NOW)
    assert len(rules.sampler._held) == 2
    assert rules.now == NOW
