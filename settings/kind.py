"""The kinds of value that a setting may have, each read from TOML or from text; which settings exist is not known."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

# Longer ones are no setting of ours, and int() of a huge text is slow.
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_BOOLEANS: Mapping[str, bool] = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True, slots=True)
class Kind:
    """How values of one type are called and read; both readers raise ValueError or TypeError for anything else.

    `from_toml` also takes the folder that relative paths start from, `from_text` an environment variable's text.
    """

    words: str
    from_toml: Callable[[Any, Path], Any]
    from_text: Callable[[str], Any]


def _is(value: Any, *types: type) -> Any:
    if type(value) not in types:  # exactly: a bool is an int to isinstance
        raise TypeError
    return value


def _text_integer(text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise ValueError
    return int(text)


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise ValueError
    return number


def _text_boolean(text: str) -> bool:
    if text.lower() not in _BOOLEANS:
        raise ValueError
    return _BOOLEANS[text.lower()]


def _path(text: str, base: Path) -> Path:
    if not text or "\0" in text:
        raise ValueError
    return base / text


def _text_list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _text_pairs(text: str) -> dict[str, str]:
    entries = [entry.partition("=") for entry in _text_list(text)]
    table = {name.strip(): value.strip() for name, _, value in entries}
    if len(table) < len(entries) or "" in table or not all(equals for _, equals, _ in entries):
        raise ValueError
    return table


def _paths(table: Mapping[str, Any], base: Path) -> Mapping[str, Path]:
    return MappingProxyType({name: _path(_is(value, str), base) for name, value in table.items()})


def _counts(table: Mapping[str, Any]) -> Mapping[str, int]:
    if any(_is(value, int) < 1 for value in table.values()):
        raise ValueError
    return MappingProxyType(dict(table))


def _texts(table: Mapping[str, Any]) -> Mapping[str, str]:
    return MappingProxyType({name: _is(value, str) for name, value in table.items()})


KINDS: Mapping[Any, Kind] = {
    str: Kind("text", lambda value, _: _is(value, str), lambda text: text),
    int: Kind("an integer", lambda value, _: _is(value, int), _text_integer),
    float: Kind("a number", lambda value, _: _finite(float(_is(value, int, float))), lambda text: _finite(float(text))),
    bool: Kind("true or false", lambda value, _: _is(value, bool), _text_boolean),
    Path: Kind("a path", lambda value, base: _path(_is(value, str), base), lambda text: _path(text, Path())),
    tuple[str, ...]: Kind(
        "a list of texts", lambda value, _: tuple(_is(part, str) for part in _is(value, list)), _text_list
    ),
    Mapping[str, Path]: Kind(
        "a table of paths (name=path,...)",
        lambda value, base: _paths(_is(value, dict), base),
        lambda text: _paths(_text_pairs(text), Path()),
    ),
    Mapping[str, int]: Kind(
        "a table of numbers from 1 (name=1,...)",
        lambda value, _: _counts(_is(value, dict)),
        lambda text: _counts({name: _text_integer(value) for name, value in _text_pairs(text).items()}),
    ),
    Mapping[str, str]: Kind(
        "a table of texts (name=text,...)",
        lambda value, _: _texts(_is(value, dict)),
        lambda text: _texts(_text_pairs(text)),
    ),
}
