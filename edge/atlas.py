"""Where addresses are, by a MaxMind database on this host: looked up once, remembered, and read again when it changes.

`maxminddb` is needed where such a database is set, and nowhere else.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edge.body import MAX_STRING
from edge.memory import Memory
from edge.place import NOWHERE, Address, Place

if TYPE_CHECKING:
    from maxminddb import Reader

# Addresses that a worker remembers, some 300 bytes each: more devices than that are looked up again.
MAX_PLACES: Final = 16_384

_log = logging.getLogger("graywave.edge")


class Atlas:
    """Knows where addresses are; before `follow`, and of those that are not in its database, nothing.

    Args:
        language: in which cities are called, of those that the database has; else in English.
    """

    def __init__(self, language: str) -> None:
        self._language = language
        self._reader: Reader | None = None
        self._is_damaged = False
        self._places: Memory[Address, Place] = Memory(MAX_PLACES)

    def follow(self, path: Path) -> None:
        """Takes a database from a file, and forgets what was looked up in the one before.

        Raises:
            OSError: it cannot be read.
            ValueError: it is none, or there is no maxminddb to read it.
        """
        reader = open_database(path)
        before, self._reader = self._reader, reader
        self._is_damaged = False
        self._places.clear()
        if before is not None:
            before.close()

    def find(self, address: Address) -> Place:
        """Returns where an address is."""
        return self._places.find(address) or self._places.keep(address, self._look_up(address))

    def _look_up(self, address: Address) -> Place:
        if self._reader is None:
            return NOWHERE
        try:
            record = self._reader.get(address)
        except Exception as error:  # noqa: BLE001 - a damaged database surprises; a check is answered all the same
            if not self._is_damaged:  # one line a database; the error's own words have the device's address
                _log.error("an address cannot be looked up, the database is damaged (%s)", type(error).__name__)
            self._is_damaged = True
            return NOWHERE
        return read_place(record, self._language)


def open_database(path: Path) -> "Reader":
    """Returns a reader of a MaxMind database, which is mapped and not read.

    Raises:
        OSError: it cannot be read.
        ValueError: it is none, or there is no maxminddb to read it.
    """
    try:
        import maxminddb  # noqa: PLC0415 - optional, the extra `geo`
    except ImportError:
        raise ValueError("expected the Python package maxminddb for a place_database, got none: install it") from None
    try:
        return maxminddb.open_database(path)
    except maxminddb.InvalidDatabaseError as error:
        raise ValueError(f"expected a MaxMind database: {error}") from None


def read_place(record: Any, language: str) -> Place:
    """Returns the place of a record as MaxMind's city databases have them; what is missing there stays empty."""
    country = _pick(record, "country", "iso_code")
    regions = record.get("subdivisions") if isinstance(record, Mapping) else None
    region = regions[0] if isinstance(regions, Sequence) and regions else None
    code = _pick(region, "iso_code")
    return Place(
        country=country,
        region=f"{country}-{code}" if country and code else _pick_name(region, language),
        city=_pick_name(record, language, "city"),
    )


def _pick_name(record: Any, language: str, *path: str) -> str:
    return _pick(record, *path, "names", language) or _pick(record, *path, "names", "en")


def _pick(record: Any, *path: str) -> str:
    """The text at a path in a record, empty where there is none."""
    for name in path:
        record = record.get(name) if isinstance(record, Mapping) else None
    return record if isinstance(record, str) and len(record) <= MAX_STRING else ""
