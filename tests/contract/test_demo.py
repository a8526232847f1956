"""The demo: whole, and deciding what a reader of the README is told, whatever salt the publisher draws."""

import copy
import json
from pathlib import Path

import pytest

from contract.oracle import Json, decide
from ruleset import compile_program, parse_program

FOLDER = Path("config/demo")
DEMO = json.loads((FOLDER / "demo.json").read_text())
FERRY, TEA = DEMO["programs"]
SALTS = ("one", "two", "three", "four", "five")


def publish(program: Json, salt: str) -> Json:
    """A document of one of the programs, its percentages salted; hashes are made up."""
    transfer = {"format": "zstd", "url": "/v1/files/0", "size": 1, "sha256": "0" * 64}
    package = {"sha256": "0" * 64, "size": 1, "signature": "none", "transfers": [transfer]}
    releases = copy.deepcopy(program["releases"])
    for release in releases:
        if "percent" in release.get("who", {}):
            release["who"]["percent"]["salt"] = salt
    packages = dict.fromkeys(program["versions"], package)
    return {"format": 1, "program": program["program"], "packages": packages, "releases": releases}


def ask(program: Json, installed: str, **device: str) -> Json:
    """A question about one of the programs."""
    reader = {"id": "d-1", "platform": "android", "model": "MI 10", "app": "10.2.3", "os": "14", **device}
    return {"workspace": "demo", "device": reader, "programs": {program["program"]: installed}}


@pytest.mark.parametrize("program", DEMO["programs"], ids=lambda program: program["name"])
def test_every_version_has_its_folder(program: Json) -> None:
    """Each version is a folder that says of itself what it is, with the page that it opens."""
    for version in program["versions"]:
        folder = FOLDER / program["name"] / version
        said = json.loads((folder / "program.json").read_text())
        assert (said["program"], said["version"]) == (program["program"], version)
        assert all((folder / page).is_file() for page in said["pages"])
        assert 4 <= len(list(folder.iterdir())) <= 8


@pytest.mark.parametrize("program", DEMO["programs"], ids=lambda program: program["name"])
def test_documents_compile(program: Json) -> None:
    """The publisher would take them."""
    compiled = compile_program(parse_program(json.dumps(publish(program, "salt")).encode()))
    assert [release.id for release in compiled.live] == [release["id"] for release in program["releases"]]


@pytest.mark.parametrize("salt", SALTS)
def test_the_reader_gets_the_gray(salt: str) -> None:
    """User u-777 on a Xiaomi phone is told of ferry 1.1.0 by the gray."""
    decision = decide(publish(FERRY, salt), ask(FERRY, "1.0.0", user="u-777"), FERRY["program"], 0)
    assert decision == {"release": "ferry-gray", "reason": "install"}


@pytest.mark.parametrize("salt", SALTS)
@pytest.mark.parametrize("device", [{"platform": "ios"}, {"os": "11"}, {"app": "9.9"}, {"model": "PIXEL 8"}])
def test_others_keep_the_official_release(salt: str, device: dict[str, str]) -> None:
    """One condition that does not hold, and even u-777 gets nothing new."""
    decision = decide(publish(FERRY, salt), ask(FERRY, "1.0.0", user="u-777", **device), FERRY["program"], 0)
    assert decision == {"release": "ferry-official", "reason": "current"}


def test_a_part_of_the_other_users_gets_the_gray() -> None:
    """Of a thousand devices without a user, about 30 in a hundred."""
    document = publish(FERRY, "salt")
    questions = [ask(FERRY, "1.0.0", id=f"device-{i}") for i in range(1000)]
    decisions = [decide(document, question, FERRY["program"], 0)["release"] for question in questions]
    assert 250 < decisions.count("ferry-gray") < 350


def test_tea_is_official_only() -> None:
    """Whoever has it has the newest released; 1.1.0 waits for a release."""
    assert decide(publish(TEA, ""), ask(TEA, "1.0.0"), TEA["program"], 0)["reason"] == "current"
    assert decide(publish(TEA, ""), ask(TEA, ""), TEA["program"], 0)["reason"] == "install"
