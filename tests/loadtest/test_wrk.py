"""What wrk sends is what the population says, each record once; and what it reports is read strictly."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from loadtest.errors import MeasureError
from loadtest.population import RECORD, Population
from loadtest.wrk import Summary, Supply, encode_template, parse_summary, refuse_flawed, run_wrk

GOOD = Summary(requests=10, duration_us=1, sent=12, repeated=0, status=0, broken=0, p50_us=1, p99_us=1)


class Recorder(asyncio.Protocol):
    """Keeps the requests that come, and answers each with a status."""

    def __init__(self, status: bytes, requests: list[bytes]) -> None:
        self._answer = b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\n\r\n{}"
        self._requests = requests
        self._held = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._held += data
        head, blank_line, body = self._held.partition(b"\r\n\r\n")
        if blank_line and len(body) == int(head.partition(b"Content-Length: ")[2]):
            self._requests.append(self._held)
            self._held = b""
            assert isinstance(self._transport, asyncio.Transport)
            self._transport.write(self._answer)


@contextmanager
def record(status: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """A server that keeps all requests and answers with this status; its port and the requests."""
    requests: list[bytes] = []
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(loop.create_server(lambda: Recorder(status, requests), "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1], requests
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.close()
        loop.run_until_complete(server.wait_closed())
        loop.close()


@pytest.fixture
def supply(population: Population, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Supply:
    monkeypatch.setattr("loadtest.wrk.BATCH", 10_000)
    return Supply(population, tmp_path)


@pytest.mark.usefixtures("load_tools")
def test_wrk_sends_the_population(supply: Supply, population: Population) -> None:
    """Every request that arrives is one of the records that were used up, and none arrives twice."""
    supply.take(17)
    with record(b"200 OK") as (port, requests):
        summary = run_wrk(supply, port, 1, 0)
    expected = set(population.render(supply.records.read_bytes()[17 * RECORD.size : supply.used * RECORD.size]))
    assert supply.used == 17 + summary.sent
    assert 0 < summary.requests <= len(requests) <= summary.sent
    assert len(set(requests)) == len(requests)
    assert set(requests) <= expected


@pytest.mark.usefixtures("load_tools")
def test_a_round_with_errors_is_thrown_away(supply: Supply) -> None:
    """A server that answers with an error is not measured."""
    with record(b"503 Service Unavailable") as (port, _), pytest.raises(MeasureError, match="expected 200 for every"):
        run_wrk(supply, port, 1, 0)


@pytest.mark.usefixtures("load_tools")
def test_records_that_run_out_are_seen(supply: Supply, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrk begins again when the records are used up, and such a round is thrown away."""
    monkeypatch.setattr("loadtest.wrk.CEILING_A_SECOND", 100)
    with record(b"200 OK") as (port, _), pytest.raises(MeasureError, match=r"the records were used up \d+ times"):
        run_wrk(supply, port, 1, 0)


def test_records_are_used_once(supply: Supply) -> None:
    """What a client takes is used up; the next one gets others."""
    first, second = supply.take(10), supply.take(10)
    assert len(first) == 10 * RECORD.size
    assert not {one[0] for one in RECORD.iter_unpack(first)} & {one[0] for one in RECORD.iter_unpack(second)}


def test_repeated_devices_are_counted_over_all_rounds(supply: Supply) -> None:
    """Nothing that was used repeats; a file that begins again does."""
    supply.take(25_000)
    assert supply.count_repeated() == 0
    records = supply.records.read_bytes()
    supply.records.write_bytes(records[: 24_000 * RECORD.size] + records)
    assert supply.count_repeated() == 1_000


def test_a_sample_comes_from_all_that_was_used(supply: Supply) -> None:
    """A sample is evenly spread over the used records, and takes none twice."""
    used = supply.take(10_000)
    sample = list(RECORD.iter_unpack(supply.sample(1_000)))
    everything = list(RECORD.iter_unpack(used))
    places = [everything.index(record) for record in sample]
    assert 900 <= len(sample) <= 1_000
    assert places == sorted(set(places))
    assert places[-1] > 9_900


def test_a_template_is_written_with_its_length() -> None:
    """Four bytes, the lowest first, and the template."""
    assert encode_template(b"x" * 300) == b"\x2c\x01\x00\x00" + b"x" * 300


def test_a_summary_is_found_in_the_output() -> None:
    """The script's line is read among wrk's own."""
    line = 'summary {"requests":10,"duration_us":1,"sent":12,"repeated":0,"status":0,"broken":0,"p50_us":1,"p99_us":1}'
    assert parse_summary(f"Running 1s test\n{line}\n") == GOOD
    with pytest.raises(MeasureError, match="expected a summary from wrk, got 'Running"):
        parse_summary("Running 1s test\n")


@pytest.mark.parametrize(
    ("summary", "message"),
    [
        (Summary(10, 1, 12, 0, 1, 0, 1, 1), "expected 200 for every request, got 1 others, 0 broken"),
        (Summary(10, 1, 12, 0, 0, 2, 1, 1), "expected 200 for every request, got 0 others, 2 broken"),
        (Summary(10, 1, 12, 3, 0, 0, 1, 1), "the records were used up 3 times: devices repeated in this round"),
        (Summary(0, 1, 12, 0, 0, 0, 1, 1), "expected answers, got none"),
    ],
)
def test_a_flawed_round_is_refused(summary: Summary, message: str) -> None:
    """Whatever makes a round worthless is named."""
    refuse_flawed(GOOD)
    with pytest.raises(MeasureError, match=message):
        refuse_flawed(summary)
