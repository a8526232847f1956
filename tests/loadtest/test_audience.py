"""What a whitelist costs: who asks, where ids stand in a request, and how figures are read."""

import os
from pathlib import Path
from typing import Any

import orjson
import pytest

from loadtest import audience
from loadtest.audience import (
    AUDIENCE,
    INLINE,
    INLINE_USERS,
    PROGRAMS,
    VERSION,
    Users,
    compute_ratio,
    make_program,
    make_template,
    name_user,
    read_pss,
    write_ids,
)
from loadtest.errors import MeasureError
from loadtest.population import DEVICE_ID_AT
from loadtest.report import Round


def read_user(request: bytes) -> Any:
    return orjson.loads(request.partition(b"\r\n\r\n")[2])["device"]["user"]


@pytest.mark.parametrize("kind", [AUDIENCE, INLINE])
def test_every_other_user_is_on_the_list(kind: str) -> None:
    """Drawn from all of it; the others are on none, and the same seed draws the same."""
    users, members = Users(kind, 500, 7), {name_user(number) for number in range(500)}
    asked = [read_user(request) for request in users.render(users.draw_records(0, 4_000))]
    assert [user in members for user in asked] == [bool(place & 1) for place in range(4_000)]
    assert len(set(asked) & members) > 450
    assert list(users.render(users.draw_records(0, 10))) == list(Users(kind, 500, 7).render(users.draw_records(0, 10)))


@pytest.mark.parametrize("kind", [AUDIENCE, INLINE])
def test_a_request_is_one_for_wrk(kind: str) -> None:
    """It is whole, asks about the program of its kind, and has its user where `request.lua` writes one."""
    (request,) = Users(kind, 1, 7).render(Users(kind, 1, 7).draw_records(1, 1))
    head, _, body = request.partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert orjson.loads(body)["programs"] == {PROGRAMS[kind]: VERSION}
    assert request[DEVICE_ID_AT:].startswith(name_user(0).encode() + b'"')


def test_a_template_that_wrk_would_spoil_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user that stands elsewhere would never be asked about."""
    monkeypatch.setattr(audience, "HEAD", audience.HEAD.replace("okhttp/4.12.0", "okhttp/4.12.00"))
    with pytest.raises(MeasureError, match=r"^expected ids at "):
        make_template(AUDIENCE)


def test_both_programs_are_for_a_list() -> None:
    """One names the audience, the other as many users as a document may."""
    whos = [make_program(kind)["releases"][0]["who"] for kind in (AUDIENCE, INLINE)]
    assert whos[0] == {"audiences": ["big"]}
    assert len(set(whos[1]["users"])) == INLINE_USERS


def test_ids_are_written_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as wanted, each once, however they are cut."""
    monkeypatch.setattr(audience, "LINES", 7)
    write_ids(tmp_path / "ids", 20)
    assert (tmp_path / "ids").read_text().splitlines() == [name_user(number) for number in range(20)]


def test_memory_is_what_linux_says() -> None:
    """A process that runs has some; what says nothing is an error."""
    assert read_pss([os.getpid()]) > 1_000_000
    with pytest.raises(MeasureError, match="expected a line of Pss"):
        audience._parse_pss("Rss: 7 kB\n")
    assert audience._parse_pss("00-ff ---p\nRss: 9 kB\nPss:      7 kB\n") == 7 * 1_024


def test_the_ratio_is_the_median_of_the_rounds() -> None:
    """Within a round, so that a machine that slows down slows both."""
    rounds = [
        Round(number, kind, 1_000_000, 1.0, cost, 0.0, 0.0, 1, 1)
        for number, costs in enumerate(((11, 10), (33, 30), (40, 20)), 1)
        for kind, cost in zip((AUDIENCE, INLINE), costs, strict=True)
    ]
    assert compute_ratio(rounds) == 1.1


def test_waiting_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list that never arrives fails the measurement."""
    monkeypatch.setattr(audience, "ARRIVAL_TIMEOUT_S", 0.0)
    with pytest.raises(MeasureError, match="expected pigs to fly within 0 s"):
        audience._await(lambda: False, "pigs to fly")
