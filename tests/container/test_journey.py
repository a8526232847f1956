"""What is asked for of a transfer, and what of an answer is taken: each rule at its boundary."""

from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from container import NetworkError, Response, Transfer, VerificationError
from container.journey import Journey
from container.part import Part

CONTENT = bytes(range(100))
SHA256 = sha256(CONTENT).hexdigest()
TAG = '"t"'


class Trip:
    """A transfer of a hundred bytes, and what was told of it."""

    def __init__(self, folder: Path, there: bytes = b"", tag: str = TAG) -> None:
        self.part = Part(folder, SHA256)
        if there:
            self.part.begin(tag)
            list(self.part.append([there]))
        self.told: list[int] = []
        self.journey = self.start()

    def start(self) -> Journey:
        return Journey(Transfer("zstd", "/x", len(CONTENT), SHA256), self.part, self.told.append)

    def answer(self, status: int, *chunks: bytes, **headers: str) -> bool:
        """Gives an answer to the question that is asked now; says whether it was taken."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        response = Response(status, named, iter(chunks), lambda: None)
        self.journey.ask()
        if not self.journey.may_take(response):
            return False
        self.journey.take(response, response.stream)
        return True


def rest(start: int, end: int = 99, total: str = "100") -> str:
    return f"bytes {start}-{end}/{total}"


def test_everything_is_asked_for_first(tmp_path: Path) -> None:
    """With nothing there, there is no range to ask for; the answer's bytes are the transfer."""
    trip = Trip(tmp_path)
    assert trip.journey.ask() == {}
    assert trip.answer(200, CONTENT[:60], CONTENT[60:], etag=TAG, content_length="100")
    assert (trip.journey.is_over, trip.journey.moved, trip.told) == (True, 100, [60, 100])


def test_rest_is_asked_for_under_its_tag(tmp_path: Path) -> None:
    """With bytes there, the rest is asked for, if the file is still the same."""
    trip = Trip(tmp_path, CONTENT[:60])
    assert trip.journey.ask() == {"Range": "bytes=60-", "If-Range": TAG}
    assert trip.answer(206, CONTENT[60:], etag=TAG, content_range=rest(60), content_length="40")
    assert (trip.journey.is_over, trip.journey.moved, trip.told) == (True, 40, [100])


def test_rest_without_a_tag_is_not_asked_for(tmp_path: Path) -> None:
    """Bytes that came under no tag, or a weak one, are begun anew."""
    for tag in ("", 'W/"t"'):
        assert Trip(tmp_path, CONTENT[:60], tag).journey.ask() == {}


def test_whole_part_needs_no_question(tmp_path: Path) -> None:
    """Who was killed after the last byte has it still, with or without a tag."""
    for tag in (TAG, ""):
        assert Trip(tmp_path, CONTENT, tag).journey.is_over


@pytest.mark.parametrize("there", [bytes(100), CONTENT + b"x", bytes(1000)])
def test_part_that_can_not_be_is_forgotten(tmp_path: Path, there: bytes) -> None:
    """As many bytes as there should be, or more, and not the right ones, are nothing to go on with."""
    trip = Trip(tmp_path, there)
    assert not trip.journey.is_over
    assert trip.journey.ask() == {}
    assert trip.part.size == 0


def test_changed_file_is_taken_whole(tmp_path: Path) -> None:
    """A 200 to a question for the rest is the whole file, in the place of what was there."""
    trip = Trip(tmp_path, b"old")
    assert trip.answer(200, CONTENT, etag='"new"')
    assert trip.journey.is_over
    assert trip.part.tag == '"new"'


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content_range": rest(59)},
        {"content_range": rest(61)},
        {"content_range": rest(60, 98)},
        {"content_range": rest(60, 99, "101")},
        {"content_range": rest(60, 99, "*")},
        {"content_range": "bytes */100"},
        {"content_range": "items 60-99/100"},
        {"content_range": rest(60) + " "},
        {"content_range": rest(60), "etag": '"other"'},
        {"content_range": rest(60), "etag": 'W/"t"'},
        {"content_range": rest(60), "content_length": "41"},
    ],
)
def test_other_range_is_not_taken(tmp_path: Path, headers: dict[str, str]) -> None:
    """A 206 that is not just the rest, of the same file, is nothing; everything is then asked for."""
    trip = Trip(tmp_path, CONTENT[:60])
    assert not trip.answer(206, CONTENT[60:], **headers)
    assert trip.journey.start_over()
    assert trip.journey.ask() == {}
    assert trip.answer(200, CONTENT)


def test_rest_that_nobody_asked_for_is_not_taken(tmp_path: Path) -> None:
    """A 206 to a question for everything is no answer, and nothing is left to ask otherwise."""
    trip = Trip(tmp_path)
    assert not trip.answer(206, CONTENT, content_range=rest(0))
    assert not trip.journey.start_over()


@pytest.mark.parametrize("status", [201, 202, 204, 302, 304, 404, 410, 416])
def test_other_status_starts_over_once(tmp_path: Path, status: int) -> None:
    """Whatever else is answered to a question for the rest, everything is asked for; then that is the answer."""
    trip = Trip(tmp_path, CONTENT[:60])
    assert not trip.answer(status)
    assert trip.journey.start_over()
    assert not trip.answer(status)
    assert not trip.journey.start_over()


def test_wrong_beginning_costs_one_more_question(tmp_path: Path) -> None:
    """The right rest behind wrong bytes is not the transfer: everything is asked for, and refused or not."""
    trip = Trip(tmp_path, bytes(60))
    assert trip.answer(206, CONTENT[60:], content_range=rest(60))
    assert (trip.journey.is_over, trip.journey.ask()) == (False, {})
    with pytest.raises(VerificationError, match=f"'/x': expected the transfer with sha256 {SHA256}, got another"):
        trip.answer(200, bytes(100))
    assert trip.part.size == 0


@pytest.mark.parametrize(
    ("chunks", "message"),
    [
        ([CONTENT, b"x"], "expected 100 bytes of the transfer, got more"),
        ([CONTENT[:99]], "expected 100 bytes of the transfer, got 99"),
        ([], "expected 100 bytes of the transfer, got 0"),
        ([bytes(100)], "expected the transfer with sha256 "),
    ],
)
def test_wrong_bytes_are_refused_and_not_kept(tmp_path: Path, chunks: list[bytes], message: str) -> None:
    """Too many bytes, too few, or others: nothing of them stays to go on with."""
    trip = Trip(tmp_path)
    with pytest.raises(VerificationError, match=message) as caught:
        trip.answer(200, *chunks, etag=TAG)
    assert caught.value.reason == "transfer_refused"
    assert (trip.part.size, trip.part.tag) == (0, "")


@pytest.mark.parametrize("length", ["99", "101", "0", "1e2", "100, 100", "-1"])
def test_length_is_looked_at_before_the_bytes(tmp_path: Path, length: str) -> None:
    """An answer that is announced with another size is not read."""

    def never() -> Iterator[bytes]:
        pytest.fail("read")
        yield b""

    trip = Trip(tmp_path)
    trip.journey.ask()
    response = Response(200, {"content-length": length}, never(), lambda: None)
    with pytest.raises(VerificationError, match="expected 100 bytes of the transfer, got a Content-Length of "):
        trip.journey.take(response, response.stream)


def test_endless_bytes_are_read_no_further_than_needed(tmp_path: Path) -> None:
    """The first byte too many ends it, and is not written."""
    trip = Trip(tmp_path)
    read = []

    def flood() -> Iterator[bytes]:
        while True:
            read.append(1)
            yield b"x" * 10

    trip.journey.ask()
    with pytest.raises(VerificationError):
        trip.journey.take(Response(200, {}, flood(), lambda: None), flood())
    assert len(read) == 11


@given(st.lists(st.integers(0, 60), min_size=1, max_size=6), st.data())
def test_any_breaks_end_in_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], data: st.DataObject
) -> None:
    """However often a connection breaks, and with or without a new process, the bytes are the transfer's in the end."""
    trip = Trip(tmp_path_factory.mktemp("trip"))
    for size in sizes:
        if trip.journey.is_over:
            break
        start = trip.part.size if trip.journey.ask() else 0

        def break_off(start: int = start, size: int = size) -> Iterator[bytes]:
            yield CONTENT[start : start + size]
            if start + size < len(CONTENT):
                raise NetworkError("cut")

        status, headers = (206, {"content-range": rest(start), "etag": TAG}) if start else (200, {"etag": TAG})
        with suppress(NetworkError):
            trip.journey.take(Response(status, headers, break_off(), lambda: None), break_off())
        if data.draw(st.booleans()):
            trip.journey = trip.start()
    assert CONTENT.startswith(trip.part.path.read_bytes())
    assert trip.journey.is_over == (trip.part.size == len(CONTENT))
