"""Small documents and devices for the tests of the rules, so that each test states only what it is about."""

from collections.abc import Callable
from typing import Any

import msgspec
import orjson
import pytest

from ruleset.compiler import CompiledProgram, compile_program
from ruleset.condition import Fact, read_text, read_version
from ruleset.document import parse_program
from ruleset.model import Device
from ruleset.sheet import Sheet
from ruleset.version import NOT_INSTALLED

Json = dict[str, Any]

SHA256 = "a" * 64


def _make_package(**members: Any) -> Json:
    transfer = {"format": "zstd", "url": "/v1/files/a", "size": 1, "sha256": SHA256}
    return {"sha256": SHA256, "size": 2, "signature": "signed", "transfers": [transfer], **members}


def _make_document(*releases: Json, **members: Any) -> Json:
    return {
        "format": 1,
        "program": "2021000000000001",
        "packages": {"1": _make_package(), "2": _make_package(), "3": _make_package()},
        "releases": [{"id": f"r{i}", "package": "2", **release} for i, release in enumerate(releases)],
        **members,
    }


def _compile(*releases: Json, sheet: Sheet | None = None, **members: Any) -> CompiledProgram:
    return compile_program(parse_program(orjson.dumps(_make_document(*releases, **members))), sheet)


def _make_device(**members: Any) -> Device:
    return msgspec.convert({"id": "d-1", "platform": "android", **members}, Device)


def _read_fact(attribute: str, device: Device, installed: int) -> Fact:
    if attribute == "installed":
        return None if installed == NOT_INSTALLED else installed
    if attribute.startswith("tags."):
        said = (device.tags or {}).get(attribute[len("tags.") :])
    else:
        said = getattr(device, attribute)
    if said is None:
        return None
    return read_version(said) if attribute in ("os", "app") else read_text(said)


@pytest.fixture(scope="session")
def make_package() -> Callable[..., Json]:
    """Makes an entry of `packages`, its members replaced by those given."""
    return _make_package


@pytest.fixture(scope="session")
def make_document() -> Callable[..., Json]:
    """Makes an author's document of packages 1, 2 and 3; each release has an id and package 2 unless it says so."""
    return _make_document


@pytest.fixture(scope="session")
def compile_releases() -> Callable[..., CompiledProgram]:
    """Compiles what `make_document` makes, on `sheet` where one is given."""
    return _compile


@pytest.fixture(scope="session")
def make_device() -> Callable[..., Device]:
    """Makes the Android device d-1, its members replaced by those given."""
    return _make_device


@pytest.fixture(scope="session")
def read_fact() -> Callable[[str, Device, int], Fact]:
    """Says the fact of one attribute for a device and an installed key, without a sheet."""
    return _read_fact
