"""Refining on the command line: which versions deltas start from, what is published, and whom it gives way to."""

import hashlib
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bundle import LocalStore, apply_delta, decompress, unseal
from cli import refine as module
from cli.exit import CommandError, Exit
from cli.publishing import Publisher
from cli.refine import add_transfers, ask_running, choose_bases, find_version, publish_change
from ruleset import parse_version
from tests.cli.conftest import Run
from tests.cli.running import Running

_programs = (f"20210000000031{number:02}" for number in itertools.count(1))
TEXT = "".join(f"line {number} of {number * number % 977}\n" for number in range(3000))


def entry(name: str, key: str = "") -> dict[str, Any]:
    return {"sha256": hashlib.sha256(name.encode()).hexdigest(), "key": key, "transfers": [{"format": "zstd"}]}


@pytest.fixture
def program() -> str:
    """A program that nobody has published."""
    return next(_programs)


@pytest.fixture
def publish(graywave: Run, program: str, tmp_path: Path) -> Callable[..., Any]:
    """Packs a version of the program and releases it, without more ado; returns what the command says."""

    def publish(version: str, text: str = TEXT, *options: str, how: tuple[str, ...] = ("--no-refine",)) -> Any:
        source, out = tmp_path / f"source-{version}", tmp_path / f"out-{version}"
        source.mkdir(exist_ok=True)
        (source / "app.js").write_text(f"// {version}\n{text}")
        named = ("--program", program, "--version", version, "--out", out)
        packed = graywave("pack", source, *named, "--level", "1", *options)
        assert packed.exit_code == 0, packed.stderr
        result = graywave("release", out, "--json", *how)
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)

    return publish


@pytest.fixture
def read(graywave: Run, program: str) -> Callable[[], Any]:
    """Reads the program's document."""
    return lambda: json.loads(graywave("document get", program).stdout)


def restore(store: LocalStore, folder: Path, entry: dict[str, Any]) -> bytes:
    """Returns the tar of a package's full transfer in a store."""
    transfer = entry["transfers"][0]
    return b"".join(decompress([open_seal(store, folder, transfer["sha256"], entry.get("key", ""))], entry["size"]))


def open_seal(store: LocalStore, folder: Path, sha256: str, key: str) -> bytes:
    if not key:
        return store.path(sha256).read_bytes()
    unseal(store.path(sha256), folder / "opened", key)
    return (folder / "opened").read_bytes()


@pytest.mark.parametrize("options", [(), ("--seal",)])
def test_refining(
    graywave: Run, running: Running, publish: Callable[..., Any], read: Callable[[], Any], program: str, tmp_path: Path,
    options: tuple[str, ...],
) -> None:  # fmt: skip
    """Deltas and a smaller full transfer are stored, then published once; sealed as the package is."""
    revisions = [publish(version, TEXT, *options)["revision"] for version in ("1.0", "1.2", "1.1")]
    before = read()["packages"]["1.2"]
    result = graywave("refine", program, "--version", "1.2.0")
    assert (result.exit_code, result.stderr) == (0, "")
    packages = read()["packages"]
    full, *deltas = packages["1.2"]["transfers"]
    assert full["size"] < before["transfers"][0]["size"]
    assert [delta["from"] for delta in deltas] == ["1.1", "1.0"]
    assert {name: value for name, value in packages["1.2"].items() if name != "transfers"} == {
        name: value for name, value in before.items() if name != "transfers"
    }
    store = LocalStore(running.data / "store")
    tar = restore(store, tmp_path, packages["1.2"])
    assert hashlib.sha256(tar).hexdigest() == packages["1.2"]["sha256"]
    for delta in deltas:
        old = restore(store, tmp_path, packages[delta["from"]])
        content = open_seal(store, tmp_path, delta["sha256"], packages["1.2"].get("key", ""))
        assert b"".join(apply_delta(old, [content], len(tar))) == tar
    share = [100 * delta["size"] / full["size"] for delta in deltas]
    revision = read_revision(graywave, program)
    assert result.stdout.splitlines() == [
        f"full transfer: {full['size']} bytes now",
        f"delta from 1.1: {deltas[0]['size']} bytes, {share[0]:.1f} % of the full transfer",
        f"delta from 1.0: {deltas[1]['size']} bytes, {share[1]:.1f} % of the full transfer",
        f"published revision {revision}",
    ]
    assert revision > max(revisions)


def read_revision(graywave: Run, program: str) -> int:
    return int(graywave("document get", program).stderr.removeprefix("revision "))


def test_a_second_time(graywave: Run, publish: Callable[..., Any], read: Callable[[], Any], program: str) -> None:
    """What is there is not made again, and then nothing is published; a script is told."""
    publish("1.0")
    publish("1.1")
    first = json.loads(graywave("refine", program, "--json").stdout)
    assert (first["program"], first["version"], [part["from"] for part in first["deltas"]]) == (program, "1.1", ["1.0"])
    document, revision = read(), first["revision"]
    second = json.loads(graywave("refine", program, "--json").stdout)
    skipped = [{"from": "1.0", "reason": "there is one"}]
    assert second == {
        "program": program, "version": "1.1", "full": None, "deltas": [], "skipped": skipped, "revision": None,
    }  # fmt: skip
    lines = graywave("refine", program).stdout.splitlines()
    assert lines == ["no delta from 1.0: there is one", f"1.1 of {program} stays as it is"]
    assert (read(), read_revision(graywave, program)) == (document, revision)


def test_a_base_that_cannot_be_read(
    graywave: Run, running: Running, publish: Callable[..., Any], read: Callable[[], Any], program: str
) -> None:
    """A version whose file is gone or spoilt gets no delta, with the reason; the others do."""
    for version in ("1.0", "1.1", "1.2", "1.3"):
        publish(version)
    store, packages = LocalStore(running.data / "store"), read()["packages"]
    store.remove(packages["1.0"]["transfers"][0]["sha256"])
    store.path(packages["1.1"]["transfers"][0]["sha256"]).write_bytes(b"other")
    told = json.loads(graywave("refine", program, "--json", "--no-full").stdout)
    assert told["full"] is None
    assert [part["from"] for part in told["deltas"]] == ["1.2"]
    reasons = {part["from"]: part["reason"] for part in told["skipped"]}
    assert sorted(reasons) == ["1.0", "1.1"]
    assert f"expected the file {packages['1.0']['transfers'][0]['sha256']}, got none" in reasons["1.0"]


def test_a_delta_that_saves_too_little(graywave: Run, publish: Callable[..., Any], program: str) -> None:
    """A delta that saves less than a fifth is stored nowhere."""
    publish("1.0", "nothing of this")
    publish("1.1", hashlib.shake_128(b"other").hexdigest(9000))
    told = json.loads(graywave("refine", program, "--json", "--no-full").stdout)
    assert told["skipped"] == [{"from": "1.0", "reason": "it would save less than a fifth"}]
    assert (told["deltas"], told["revision"]) == ([], None)


def test_as_many_bases_as_wanted(graywave: Run, publish: Callable[..., Any], program: str) -> None:
    """Deltas are made from the last versions, and from no more than was said."""
    for version in ("1.8", "1.9", "1.10"):
        publish(version)
    told = json.loads(graywave("refine", program, "--json", "--bases", "1").stdout)
    assert [part["from"] for part in told["deltas"]] == ["1.9"]
    assert graywave("refine", program, "--bases", "16").exit_code == 2


def test_the_versions_that_run(
    graywave: Run, serve: Callable[[int, bytes], str], publish: Callable[..., Any], program: str
) -> None:
    """An edge's counts come before the order of versions."""
    for version in ("1.0", "1.1", "1.2"):
        publish(version)
    address = serve(200, b'{"versions":{"1.0.0.0":70,"1.1.0.0":9,"":3}}')
    told = json.loads(graywave("refine", program, "--json", "--bases", "1", "--running", address).stdout)
    assert [part["from"] for part in told["deltas"]] == ["1.0"]


def test_an_edge_that_runs(graywave: Run, running: Running, publish: Callable[..., Any], program: str) -> None:
    """A real edge is asked for its counts."""
    document = publish("1.0")
    assert graywave("refine", program, "--running", f"http://{running.admin}/").exit_code == 0
    assert document["program"] == program


@pytest.mark.parametrize("body", [b"{}", b'{"versions":[]}', b'{"versions":{"one":1}}', b'{"versions":{"1.0":"x"}}'])
def test_counts_that_are_none(
    graywave: Run, serve: Callable[[int, bytes], str], publish: Callable[..., Any], program: str, body: bytes
) -> None:
    """An address that is no edge's is named."""
    publish("1.0")
    address = serve(200, body)
    result = graywave("refine", program, "--running", address)
    message = f"graywave: {address}: expected counts of versions, got something else\n"
    assert (result.exit_code, result.stderr) == (4, message)


def test_counts_need_a_signature() -> None:
    """What is no package signature names no workspace to ask for."""
    with pytest.raises(CommandError):
        ask_running("http://127.0.0.1:9", {"signature": "none"}, "2021000000000001")


def test_what_there_is_not(graywave: Run, publish: Callable[..., Any], program: str) -> None:
    """A program or version that is not published, and a store that is none, are named."""
    result = graywave("refine", program)
    assert (result.exit_code, result.stderr) == (3, f"graywave: no document of program {program!r} is published\n")
    publish("1.0")
    result = graywave("refine", program, "--version", "2.0")
    message = f"graywave: program {program} has no version 2.0: it has 1.0\n"
    assert (result.exit_code, result.stderr) == (3, message)
    assert graywave("refine", program, "--version", "two").exit_code == 2
    result = graywave("refine", program, "--store", "ftp://store")
    assert (result.exit_code, "expected a folder or s3://bucket" in result.stderr) == (2, True)


def test_a_version_that_cannot_be_read(graywave: Run, publish: Callable[..., Any], program: str) -> None:
    """A version whose own file is not in the store is named."""
    publish("1.0")
    result = graywave("refine", program, "--store", "empty")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"graywave: 1.0 of {program}: empty: expected the file ")


def test_ended_releases_are_passed_over() -> None:
    """Without a version, the one on top is meant, of releases that go on."""
    document = {
        "program": "1", "releases": [{"package": "3.0", "state": "ended"}, {"package": "2.0"}, {"package": "1.0"}],
    }  # fmt: skip
    assert module._find_top(document) == "2.0"
    with pytest.raises(CommandError, match="program 1 has no release: name a --version"):
        module._find_top({"program": "1", "releases": [{"package": "3.0", "state": "ended"}]})


def test_bases_are_older_versions() -> None:
    """Versions below the new one, as numbers and not as text, highest first; equal bytes are none to start from."""
    packages = {version: entry(version) for version in ("1.9", "1.10", "2.0", "1.2.3", "3.0")}
    packages["1.11"] = entry("2.0")
    assert choose_bases(packages, "2.0", 5, {}) == ["1.10", "1.9", "1.2.3"]
    assert choose_bases(packages, "2.0", 2, {}) == ["1.10", "1.9"]
    assert choose_bases(packages, "2.0", 0, {}) == []
    assert choose_bases(packages, "1.2.3", 5, {}) == []


def test_bases_by_what_runs() -> None:
    """Those that most devices run come first; the rest is filled up with the highest."""
    packages = {version: entry(version) for version in ("1.0", "1.1", "1.2", "1.3", "2.0")}
    counts = {parse_version(version): count for version, count in {"1.1": 9, "1.0": 5, "2.0": 99}.items()}
    assert choose_bases(packages, "2.0", 3, counts) == ["1.1", "1.0", "1.3"]


def test_a_version_by_another_spelling() -> None:
    """A version is found as the document writes it."""
    assert find_version({"packages": {"2.3.1.0": {}}}, "2.3.1") == "2.3.1.0"


@pytest.mark.parametrize("change", [None, {"sha256": "other"}, {"key": "other"}])
def test_a_version_that_was_changed_meanwhile(change: dict[str, Any] | None) -> None:
    """Transfers are not added to a version that has other bytes, another key, or has gone since."""
    packages = {} if change is None else {"1.0": entry("1.0") | change}
    with pytest.raises(CommandError, match=r"version 1\.0 of 1 was changed meanwhile: start again"):
        add_transfers({"program": "1", "packages": packages}, "1.0", entry("1.0"), [])


def test_a_version_that_was_removed_meanwhile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A version that has gone between being released and being refined is named."""
    publisher = Publisher("http://127.0.0.1:1", "token")
    monkeypatch.setattr(publisher, "get", lambda program: ({"program": program, "packages": {}}, "1"))
    with pytest.raises(CommandError, match=r"^version 1\.0 of 1 was removed meanwhile$"):
        module.refine_version(publisher, LocalStore(tmp_path), module.Wish("1", "1.0"), None)


def test_the_rest_of_a_document_stays() -> None:
    """Transfers are added to what the document has by then, and to a copy of it."""
    delta = {"format": "dcz", "from_sha256": "a"}
    document: dict[str, Any] = {
        "program": "1",
        "floor": "0.1",
        "packages": {"1.0": entry("1.0") | {"extra": {}}, "2.0": entry("2.0")},
    }
    changed = add_transfers(document, "1.0", entry("1.0"), [delta])
    assert changed["packages"]["1.0"]["transfers"] == [{"format": "zstd"}, delta]
    assert document["packages"]["1.0"]["transfers"] == [{"format": "zstd"}]
    changed["packages"]["1.0"] = document["packages"]["1.0"]
    assert changed == document


class Contended(Publisher):
    """A publisher whose document others change, some times, whenever it is about to be put."""

    def __init__(self, times: int, code: Exit = Exit.REFUSED) -> None:
        self.times, self.code, self.revision = times, code, 1
        self.change = int(code == Exit.REFUSED)
        self.published: list[tuple[dict[str, Any], str]] = []

    def get(self, program: str) -> tuple[dict[str, Any] | None, str]:
        return {"program": program, "seen": self.revision}, str(self.revision)

    def put(self, document: dict[str, Any], revision: str, *, dry_run: bool = False) -> Any:
        assert not dry_run
        self.published.append((document, revision))
        if self.times:
            self.times -= 1
            self.revision += self.change
            raise CommandError("conflict: somebody else was faster", self.code)
        return document


def test_a_conflict_is_made_anew() -> None:
    """Where somebody else was faster, the change is made again, of what is there now."""
    publisher = Contended(2)
    publish_change(publisher, "1", lambda document: document | {"changed": True})
    assert [(document["seen"], revision) for document, revision in publisher.published] == [
        (1, "1"),
        (2, "2"),
        (3, "3"),
    ]
    assert all(document["changed"] for document, _ in publisher.published)


def test_a_conflict_each_time() -> None:
    """Who loses each time gives up."""
    publisher = Contended(99)
    with pytest.raises(CommandError, match="somebody else was faster"):
        publish_change(publisher, "1", lambda document: document)
    assert len(publisher.published) == module.MAX_ATTEMPTS


def test_what_is_no_conflict_is_told() -> None:
    """A publisher that is away, or refuses the document as such, is asked once."""
    publisher = Contended(1, Exit.UNREACHABLE)
    with pytest.raises(CommandError):
        publish_change(publisher, "1", lambda document: document)
    publisher = Contended(1)
    publisher.change = 0
    with pytest.raises(CommandError):
        publish_change(publisher, "1", lambda document: document)
    assert len(publisher.published) == 1
