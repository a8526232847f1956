"""Changes to what is right: bytes at any place, and JSON by its members. What the bytes are for is not known here."""

from collections.abc import Sequence
from typing import Any

import orjson

from tests.fuzz.dice import Dice

# Stands in a JSON text where RAW goes: what no JSON library would write. Quoted, as it is encoded.
_MARK = "\x1fraw\x1f"
_QUOTED_MARK = orjson.dumps(_MARK)
RAW = [
    b"1e400", b"-1e400", b"NaN", b"Infinity", b"-0", b"01", b"1.", b".5", b"+1", b"0x10", b"1e5", b"1E-999", b"2.0",
    b"9" * 25, b"9" * 400, b"-9223372036854775809", b"18446744073709551616", b"9007199254740993", b"0." + b"3" * 400,
    b"-", b"", b'"\\ud800"', b'"\\udc00\\ud800"', b'"\\ud83d\\ude00"', b'"\\u0000"', b'"\xed\xa0\x80"', b'"\xff"',
    b'"\xc0\x80"', b'"\xf4\x90\x80\x80"', b'"\t"', b'"\\x"', b'"\\', b'"a', b"tru", b"nul", b"True", b"None", b"[1,]",
    b"{,}", b'{"a":1,}', b'{"a":1,"a":2}', b"[" * 50 + b"]" * 50, b"[" * 300 + b"]" * 300,
    b'{"a":' * 130 + b"1" + b"}" * 130, b"[" * 3_000, b"[" * 2_000 + b"]" * 2_000, b"//", b"/**/1", b"\x00",
    b"\xef\xbb\xbf1", b"1 1",
]  # fmt: skip
ODD: list[Any] = [
    None, True, False, 0, 1, -1, 2, 100, 300, 1 << 31, 1 << 40, (1 << 40) - 1, 1 << 53, (1 << 53) - 1, (1 << 63) - 1,
    -(1 << 63), 0.5, 1.0, 1e18, 1e308, 5e-324, "", " ", "a", "0", "1.0", "1.0.0.0", "2.3.1",
    "99999.99999.99999.99999", "65535.65535.65535.65535", "65536", "1..2", "-1", "v1", "\u0661.\u0662", "1.0\n",
    "\u00df", "\u0130", "\ufb03", "\u200d", "e\u0301", "\U0001f600", "\u0000", "\u2028", "x" * 64, "x" * 65,
    "x" * 256, "x" * 257, "\u00e9" * 256, "x" * 2_049, "trial", "live", "paused", "ended", "android", "ios", "wifi",
    "cellular", "in", "not_in", "between", "outside", "contains", "prefix", "device", "user", "os", "app",
    "installed", "model", "network", "platform", "tags.vip", "tags.", "tags", "f" * 64, "F" * 64, "0" * 16, "k1",
    "r1", "on", "off", "*", "u-*", "[a-z]", "?", [], [None], [[]], {}, {"": ""}, {"a": {}}, ["1.0", "2.0"],
    ["2.0", "1.0"], ["a"] * 33, list(range(101)), {str(n): "" for n in range(65)},
    {str(n): str(n) for n in range(201)},
]  # fmt: skip
_NAMES = ["", "a", "__proto__", "id", "x" * 257, "\u0000", "$", "`", "]", "1.0", "android", "web", "2021000000000001"]


def change_json(dice: Dice, text: bytes, more: Sequence[Any] = ()) -> bytes:
    """Returns a JSON text with one or a few of its values or members changed; not all of it need be JSON any more.

    Args:
        dice: what chance decides by.
        text: a JSON text.
        more: values that are of interest beside ODD.
    """
    tree = orjson.loads(text)
    is_raw = False
    for _ in range(dice.count(4)):
        is_marked = dice.chance(0.15)
        is_raw = is_raw or is_marked
        tree = _change(dice, tree, _MARK if is_marked else _draw(dice, more))
    try:
        told = orjson.dumps(tree)
    except TypeError:  # nested more deeply than orjson writes
        return text
    if not is_raw:
        return told
    return told.replace(_QUOTED_MARK, dice.pick(RAW), 1).replace(_QUOTED_MARK, b"1")


def _draw(dice: Dice, more: Sequence[Any]) -> Any:
    """One of the values; a copy, since a later change may be within it."""
    value = dice.pick(more if more and dice.chance(0.3) else ODD)
    return orjson.loads(orjson.dumps(value)) if isinstance(value, dict | list) else value


def _change(dice: Dice, tree: Any, value: Any) -> Any:
    """Changes one place of a tree, which it walks into with a coin."""
    if not (isinstance(tree, dict | list) and tree):
        return value
    here = tree
    while True:
        key = dice.pick(list(here)) if isinstance(here, dict) else dice.below(len(here))
        below = here[key]
        if isinstance(below, dict | list) and below and dice.chance(0.85):
            here = below
            continue
        return _put(dice, tree, here, key, value)


def _put(dice: Dice, tree: Any, here: Any, key: Any, value: Any) -> Any:
    how = dice.below(11)
    if how == 0:
        del here[key]
    elif how == 1 and isinstance(here, dict):
        here[dice.pick(_NAMES)] = value
    elif how == 2 and isinstance(here, dict):
        here[dice.pick(_NAMES)] = here.pop(key)
    elif how == 3 and isinstance(here, list):
        here.insert(key, here[key] if dice.chance(0.5) else value)
    elif how == 4 and isinstance(here, list) and len(here) > 1:
        here.reverse()
    elif how == 5:
        here[key] = [here[key]]
    elif how == 6 and isinstance(here[key], int):
        here[key] += dice.pick([-1, 1, 1_000, -1_000_000])
    elif how == 7 and isinstance(here[key], str):
        here[key] = _change_text(dice, here[key])
    else:
        here[key] = value
    return tree


def _change_text(dice: Dice, text: str) -> str:
    at = dice.below(len(text) + 1)
    piece = dice.pick(["", " ", "0", ".", "-", "a", "\u00e9", "\u0000", "\n", "x" * 300])
    return text[:at] + piece + text[at + dice.below(3) :]


def change_bytes(dice: Dice, data: bytes, bits: Sequence[bytes], times: int = 3) -> bytes:
    """Returns bytes with one or a few of their places changed.

    Args:
        dice: what chance decides by.
        data: what is changed.
        bits: pieces that mean something where they are put in.
        times: how many changes at most.
    """
    for _ in range(dice.count(times)):
        size = len(data)
        at = dice.below(size + 1)
        how = dice.below(6)
        if how == 0:  # a piece goes in
            data = data[:at] + dice.pick(bits) + data[at:]
        elif how == 1:  # a piece instead of what was there
            piece = dice.pick(bits)
            data = data[:at] + piece + data[at + len(piece) :]
        elif how == 2:  # any byte instead of another
            data = data[:at] + bytes([dice.below(256)]) + data[at + 1 :]
        elif how == 3:  # some are gone
            data = data[:at] + data[at + 1 + dice.below(8) :]
        elif how == 4:  # a stretch stands twice
            data = data[: at + dice.below(64)] + data[at:]
        else:  # one bit
            at = min(at, size - 1)
            data = data[:at] + bytes([data[at] ^ (1 << dice.below(8))]) + data[at + 1 :] if size else data
    return data


def splice(dice: Dice, left: bytes, right: bytes) -> bytes:
    """Returns the beginning of one and the end of another."""
    return left[: dice.below(len(left) + 1)] + right[dice.below(len(right) + 1) :]


def cut(dice: Dice, data: bytes, most: int) -> list[bytes]:
    """Returns the bytes in up to `most` pieces, none of them empty where there are any bytes."""
    places = sorted({dice.below(len(data) + 1) for _ in range(dice.count(most) - 1)} - {0, len(data)})
    return [data[begin:end] for begin, end in zip([0, *places], [*places, len(data)], strict=True)]
