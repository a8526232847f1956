"""Tests of edge/atlas.py."""

import sys
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from edge import atlas
from edge.atlas import Atlas, open_database, read_place
from edge.place import NOWHERE, Place
from tests.edge.cartographer import BONN, HANGZHOU, IN_BONN, IN_HANGZHOU, UNKNOWN, make_database, write_database

CHINA, GERMANY = Place("CN", "CN-ZJ", "Hangzhou"), Place("DE", "NRW", "Bonn")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database."""
    return write_database(tmp_path / "city.mmdb")


@pytest.fixture
def opened(path: Path) -> Atlas:
    """An atlas of that database."""
    opened = Atlas("en")
    opened.follow(path)
    return opened


def find(opened: Atlas, text: str) -> Place:
    """Where an address is."""
    return opened.find(ip_address(text))


def test_where_addresses_are(opened: Atlas) -> None:
    """Addresses of both kinds are found, others are nowhere."""
    assert [find(opened, text) for text in (IN_HANGZHOU, IN_BONN, UNKNOWN)] == [CHINA, GERMANY, NOWHERE]


@pytest.mark.parametrize(("language", "city"), [("zh-CN", "杭州"), ("fr", "Hangzhou"), ("en", "Hangzhou")])
def test_language(path: Path, language: str, city: str) -> None:
    """Cities are called as the operator wants, or in English where the database has no such name."""
    opened = Atlas(language)
    opened.follow(path)
    assert find(opened, IN_HANGZHOU).city == city


def test_before_a_database_is_there() -> None:
    """An atlas without a database knows nothing."""
    assert find(Atlas("en"), IN_BONN) == NOWHERE


def test_database_is_replaced(opened: Atlas, path: Path) -> None:
    """A new database is asked at once, and nothing of the old one is remembered."""
    assert find(opened, IN_HANGZHOU) == CHINA
    opened.follow(write_database(path, {"203.0.113.0/24": BONN}))
    assert [find(opened, text) for text in (IN_HANGZHOU, IN_BONN)] == [GERMANY, NOWHERE]


@pytest.mark.parametrize("data", [b"", b"no database", make_database({"::/8": BONN})[:-40]])
def test_file_that_is_none(opened: Atlas, tmp_path: Path, data: bytes) -> None:
    """What is no database is refused, and the one before stays."""
    (tmp_path / "other").write_bytes(data)
    with pytest.raises(ValueError, match=r"expected a MaxMind database|empty file"):
        opened.follow(tmp_path / "other")
    with pytest.raises(FileNotFoundError):
        opened.follow(tmp_path / "nowhere")
    assert find(opened, IN_HANGZHOU) == CHINA


def test_damaged_database(path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A database that is damaged within knows nothing, and fails nobody."""
    data = bytearray(path.read_bytes())
    data[data.index(b"country") - 2] = 0xFF
    data[data.index(b"Bonn") - 1] = 0xFF
    (tmp_path / "damaged").write_bytes(data)
    opened = Atlas("en")
    opened.follow(tmp_path / "damaged")
    found = [find(opened, text) for text in (IN_HANGZHOU, IN_BONN)]
    assert NOWHERE in found
    (said,) = [record.getMessage() for record in caplog.records]
    assert "an address cannot be looked up, the database is damaged (" in said
    assert not any(address in said for address in (IN_HANGZHOU, IN_BONN))


def test_damage_is_said_once_a_database(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """However many addresses cannot be looked up, the log has one line, and none of them."""
    opened = Atlas("en")
    for _ in range(2):
        opened.follow(path)
        assert opened._reader is not None
        opened._reader.close()  # whatever is asked of it is an error now
        assert {find(opened, f"192.0.2.{last}") for last in range(9)} == {NOWHERE}
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert "192.0.2" not in caplog.text


def test_what_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Addresses are looked up once, as long as they are among the last that were asked for."""
    looked_up: list[str] = []

    class Reader:
        def get(self, address: Any) -> Any:
            looked_up.append(str(address)[-1])
            return HANGZHOU

    monkeypatch.setattr(atlas, "MAX_PLACES", 2)
    opened = Atlas("en")
    monkeypatch.setattr(opened, "_reader", Reader())
    for last in "12131232":
        assert find(opened, f"192.0.2.{last}") == CHINA
    assert "".join(looked_up) == "12323"
    assert len(opened._places) == 2


@pytest.mark.parametrize(
    ("record", "place"),
    [
        (None, NOWHERE),
        ([], NOWHERE),
        ("text", NOWHERE),
        ({}, NOWHERE),
        ({"country": "CN", "subdivisions": {}, "city": []}, NOWHERE),
        ({"country": {"iso_code": 7}, "subdivisions": [], "city": {"names": {"en": 7}}}, NOWHERE),
        ({"subdivisions": [{"iso_code": "ZJ"}]}, NOWHERE),
        ({"country": {"iso_code": "CN"}, "subdivisions": ["ZJ"]}, Place("CN")),
        ({"city": {"names": {"en": "x" * 257}}}, NOWHERE),
    ],
)
def test_records_of_any_shape(record: Any, place: Place) -> None:
    """What is not as city databases have it is absent."""
    assert read_place(record, "en") == place


def test_without_the_package(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where maxminddb is not installed it is asked for by name."""
    monkeypatch.setitem(sys.modules, "maxminddb", None)
    with pytest.raises(ValueError, match="expected the Python package maxminddb for a place_database, got none"):
        open_database(path)
