"""Sheets: conditions numbered together, so that what a device satisfies is one integer, asked with one `&`.

Each distinct condition on a sheet has a bit. For each text that a device sends as an attribute, the sheet remembers the
bits of the conditions on that attribute that hold for it. What a device satisfies is the union of these, one look-up an
attribute, however many conditions there are; a release's conditions all hold where all of its bits are in it.

A sheet takes programs until it is full, then the next one begins; one whose programs have all been replaced goes away
with the last of them. So the integers stay short, and nothing is ever numbered anew (docs/adr/0008).
"""

from collections.abc import Callable
from typing import Any, Final

from ruleset.condition import (
    ATTRIBUTES,
    TAG_PREFIX,
    VERSION_ATTRIBUTES,
    CompiledCondition,
    Fact,
    read_text,
    read_version,
)
from ruleset.model import Device
from ruleset.version import NOT_INSTALLED

# With so many conditions a sheet takes no further program: longer integers are slower to unite.
MAX_CONDITIONS: Final = 1_024
# How many texts a column remembers. A client that makes up a new model with each check costs the asking of one column's
# conditions each time, and never more memory than this.
MAX_REMEMBERED: Final = 8_192

# A set of conditions of one sheet.
Bits = int


class Column(dict[Any, Bits]):
    """The conditions on one attribute: by what a device says, the bits of those that hold.

    Args:
        read: makes a fact of what a device says.
    """

    def __init__(self, read: Callable[[Any], Fact]) -> None:
        super().__init__()
        self._read = read
        self._conditions: list[tuple[CompiledCondition, Bits]] = []

    def add(self, condition: CompiledCondition, bit: Bits) -> None:
        """Takes one more condition; what is remembered does not know it, and is forgotten."""
        self._conditions.append((condition, bit))
        self.clear()

    def __missing__(self, said: Any) -> Bits:
        fact = None if said is None else self._read(said)
        bits = sum(bit for condition, bit in self._conditions if condition.holds(fact))
        if len(self) >= MAX_REMEMBERED:
            self.clear()
        self[said] = bits
        return bits


# The column of a tag, with its name.
TagColumn = tuple[str, Column]


class Sheet:
    """Conditions numbered together, and what is remembered of them."""

    __slots__ = ("_bits", "_columns", "_tags")

    def __init__(self) -> None:
        self._bits: dict[CompiledCondition, Bits] = {}
        self._columns = tuple([Column(choose_reader(attribute)) for attribute in ATTRIBUTES])
        self._tags: dict[str, Column] = {}

    @property
    def is_full(self) -> bool:
        """Whether it should take no further program."""
        return len(self._bits) >= MAX_CONDITIONS

    def number(self, condition: CompiledCondition) -> Bits:
        """Returns a condition's bit; a condition that is not on the sheet gets the next one."""
        bit = self._bits.get(condition)
        if bit is None:
            bit = self._bits[condition] = 1 << len(self._bits)
            self._find_column(condition.attribute).add(condition, bit)
        return bit

    def find_tag(self, attribute: str) -> TagColumn:
        """Returns the column of a tag by its attribute, `tags.<name>`."""
        return attribute.removeprefix(TAG_PREFIX), self._find_column(attribute)

    def gather(self, device: Device, installed: int, tags: tuple[TagColumn, ...]) -> Bits:
        """Returns the bits of the conditions that a device satisfies.

        Args:
            device: what it says of itself.
            installed: the key of the version that it has installed.
            tags: the columns of the tags that the program asks for; of others nothing is gathered.
        """
        model, manufacturer, network, city, region, country, locale, platform, os, app, version = self._columns
        bits = (
            model[device.model]
            | manufacturer[device.manufacturer]
            | network[device.network]
            | city[device.city]
            | region[device.region]
            | country[device.country]
            | locale[device.locale]
            | platform[device.platform]
            | os[device.os]
            | app[device.app]
            | version[installed]
        )
        if tags and device.tags:
            for name, column in tags:
                bits |= column[device.tags.get(name)]
        return bits

    def _find_column(self, attribute: str) -> Column:
        if attribute in ATTRIBUTES:
            return self._columns[ATTRIBUTES.index(attribute)]
        return self._tags.setdefault(attribute, Column(read_text))


class Binder:
    """Gives each program a sheet: the current one until it is full, then a new one."""

    def __init__(self) -> None:
        self._current = Sheet()

    def open_sheet(self) -> Sheet:
        """Returns the sheet on which the next program's conditions are numbered."""
        if self._current.is_full:
            self._current = Sheet()
        return self._current


def choose_reader(attribute: str) -> Callable[[Any], Fact]:
    """Returns what makes a fact of what a device says as an attribute; `installed` is said as a version's key."""
    if attribute not in VERSION_ATTRIBUTES:
        return read_text
    return _read_installed if attribute == "installed" else read_version


def _read_installed(key: int) -> Fact:
    return None if key == NOT_INSTALLED else key
