"""Tests of edge/package.py."""

import base64
from typing import Any

import orjson
import pytest

from edge.package import Coded, Packed, Shelf, choose_coded, find_packages
from ruleset import parse_program
from tests.edge.press import Json, make_document, make_package

OLD, OLDER, TAR, WHOLE, DELTA = ("a1" * 32, "a2" * 32, "5e" * 32, "b1" * 32, "b2" * 32)
PACKED = Packed(WHOLE, {OLD: DELTA})
ZSTD, DCZ = Coded("zstd", WHOLE), Coded("dcz", DELTA)


def make_transfer(digest: str, base: str = "", url: str = "") -> Json:
    """A transfer whose file is here, or where `url` says."""
    start = {"format": "dcz", "from": "1.0", "from_sha256": base} if base else {"format": "zstd"}
    return {**start, "url": url or f"/v1/files/{digest}", "size": 190, "sha256": digest}


def find(*transfers: Json, package: Json | None = None, **members: Any) -> dict[str, Packed]:
    """The packages that are found in a document whose one package has these transfers."""
    packages = {"2.0": make_package(sha256=TAR, transfers=list(transfers), **(package or {}))}
    offers = {"expires": 1, "install": {"2.0": "offer"}, "remove": "offer"}
    releases = [{"id": "r1", "package": "2.0"}]
    document = make_document(packages=packages, releases=releases, offers=offers, **members)
    return find_packages(parse_program(orjson.dumps(document)))


def test_files_of_a_package_are_found() -> None:
    """What holds a package here is known by the digest of its tar: the whole, and differences by where they start."""
    found = find(make_transfer(DELTA, OLD), make_transfer("b3" * 32, OLDER), make_transfer(WHOLE))
    assert found == {TAR: Packed(WHOLE, {OLD: DELTA, OLDER: "b3" * 32})}


@pytest.mark.parametrize(
    "url",
    [
        f"https://cdn.example/v1/files/{WHOLE}",
        f"/v1/files/{DELTA}",
        f"/v1/files/{WHOLE}?x",
        f"//cdn.example/v1/files/{WHOLE}",
        f"v1/files/{WHOLE}",
    ],
)
def test_files_kept_elsewhere_are_left_out(url: str) -> None:
    """A file that another address has, or that is named by another's hash, is not here."""
    assert find(make_transfer(WHOLE, url=url)) == {}
    assert find(make_transfer(WHOLE, url=url), make_transfer(DELTA, OLD)) == {TAR: Packed("", {OLD: DELTA})}


def test_sealed_and_taken_down_packages_are_left_out() -> None:
    """What no client could open is not told, nor what nobody may have any more."""
    key = "AGE-SECRET-KEY-1" + "Q" * 58
    assert find(make_transfer(WHOLE), package={"key": key}) == {}
    assert find(make_transfer(WHOLE), taken_down=True) == {}


def name_dictionary(digest: str) -> str:
    """An Available-Dictionary field."""
    return f":{base64.b64encode(bytes.fromhex(digest)).decode()}:"


@pytest.mark.parametrize(
    ("accepted", "with_dictionary", "without"),
    [
        ("zstd, dcz", [DCZ, ZSTD], [ZSTD]),
        ("gzip, br, zstd, dcb, dcz", [DCZ, ZSTD], [ZSTD]),
        ("dcz", [DCZ], []),
        ("DCZ", [DCZ], []),
        ("zstd", [ZSTD], [ZSTD]),
        ("dcz;q=0.5, zstd;q=0.9", [ZSTD, DCZ], [ZSTD]),
        ("dcz;q=0.9,zstd;q=0.5", [DCZ, ZSTD], [ZSTD]),
        ("dcz ; q=0.001, zstd;q=0", [DCZ], []),
        ("dcz;q=0, zstd", [ZSTD], [ZSTD]),
        ("dcz;q=0.000, zstd;q=0.", [], []),
        ("*", [ZSTD], [ZSTD]),
        ("*;q=0", [], []),
        ("zstd;q=0, *", [], []),
        ("dcz;Q=1.000, *;q=0.1", [DCZ, ZSTD], [ZSTD]),
        ("gzip, identity", [], []),
        ("", [], []),
        (None, [ZSTD], [ZSTD]),
        # What is malformed names nothing, and takes nothing beside it along.
        ("dcz;q=2, zstd", [ZSTD], [ZSTD]),
        ("dcz;q=-1, zstd", [ZSTD], [ZSTD]),
        ("dcz;q=0.0001, zstd", [ZSTD], [ZSTD]),
        ("dcz;level=3, zstd", [ZSTD], [ZSTD]),
        ("dcz zstd", [], []),
        (",,dcz,,", [DCZ], []),
        ("dc\u017f, zstd", [ZSTD], [ZSTD]),
    ],
)
def test_coding_is_negotiated(accepted: str | None, with_dictionary: list[Coded], without: list[Coded]) -> None:
    """What a client takes comes in its order, of equals the difference first; that only where its tar is known."""
    assert choose_coded([PACKED], accepted, name_dictionary(OLD)) == with_dictionary
    assert choose_coded([PACKED], accepted, name_dictionary(OLDER)) == without
    assert choose_coded([PACKED], accepted, None) == without


GOOD = name_dictionary(OLD)


@pytest.mark.parametrize(
    ("field", "is_heeded"),
    [
        (GOOD, True),
        (f"  {GOOD} ", True),
        (GOOD.replace("=", ""), True),
        ("", False),
        (GOOD.strip(":"), False),
        (GOOD[:-1], False),
        (f'"{OLD}"', False),
        (OLD, False),
        (f":{base64.b64encode(bytes(31)).decode()}:", False),
        (f":{base64.b64encode(bytes(33)).decode()}:", False),
        (GOOD.replace(":", ""), False),
        (f"{GOOD}, {GOOD}", False),
        (GOOD[:9] + "-" + GOOD[10:], False),
        (GOOD[:9] + " " + GOOD[10:], False),
        (GOOD.replace("=:", "==:"), False),
        (f"{GOOD};x", False),
        (f"{GOOD}\n", False),
        (f"?1{GOOD}", False),
    ],
)
def test_dictionary_is_a_byte_sequence(field: str, is_heeded: bool) -> None:
    """A field that is not one byte sequence of 32 bytes is passed over: the client gets the whole package."""
    assert choose_coded([PACKED], "dcz, zstd", field) == ([DCZ, ZSTD] if is_heeded else [ZSTD])


def test_nothing_is_chosen_of_nothing() -> None:
    """A package whose whole is kept elsewhere is there as a difference only."""
    assert choose_coded([], None, GOOD) == []
    assert choose_coded([Packed("", {OLD: DELTA})], "zstd, dcz", None) == []


def test_shelf_follows_programs() -> None:
    """A program's packages replace those it had; one that another program has too stays."""
    shelf = Shelf()
    first, second, other = Packed(WHOLE, {}), Packed(DELTA, {}), Packed(WHOLE, {})
    shelf.replace({}, {TAR: first, OLD: first})
    shelf.replace({}, {TAR: other})
    assert (shelf.find(TAR), shelf.find(OLD), shelf.find(OLDER)) == ((first, other), (first,), ())
    shelf.replace({TAR: first, OLD: first}, {TAR: second})
    assert (shelf.find(TAR), shelf.find(OLD)) == ((other, second), ())
    shelf.replace({TAR: other}, {})
    shelf.replace({TAR: second}, {})
    assert shelf.find(TAR) == ()
    assert shelf._held == {}
