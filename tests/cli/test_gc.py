"""Cleaning a store on the command line: what stays, what goes, and what keeps everything."""

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundle import LocalStore, StoredFile, StoreError, open_store
from cli import gc
from cli.exit import CommandError, Exit
from cli.gc import DAY_S, Result, list_needed, read_needed, remove, sort_out
from cli.publishing import Publisher
from tests.bundle.bucket import Server, run_moto
from tests.cli.conftest import Run
from tests.cli.running import Running

TEA, OTHER = "2021000000000002", "2021000000002001"
NOW = 1_795_000_000


def name(text: str) -> str:
    """Returns the digest of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def package(*transfers: str) -> dict[str, Any]:
    """Returns a package with transfers, each `zstd` or `dcz`, a colon, and a text that stands for its content."""
    split = [transfer.split(":") for transfer in transfers]
    return {"transfers": [{"format": kind, "sha256": name(text)} for kind, text in split]}


DOCUMENT: dict[str, Any] = {
    "packages": {
        "1.9": package("zstd:1.9"),
        "1.10": package("zstd:1.10", "dcz:1.9-1.10"),
        "2.0": package("zstd:2.0", "dcz:1.10-2.0", "dcz:1.9-2.0"),
        "2.1": package("zstd:2.1", "dcz:2.0-2.1"),
    },
    "releases": [
        {"id": "r4", "package": "2.1", "state": "ended"},
        {"id": "r3", "package": "2.0", "state": "paused"},
        {"id": "r2", "package": "1.10"},
        {"id": "r1", "package": "1.9", "state": "ended"},
    ],
}
OF_RELEASES = {"2.0", "1.10-2.0", "1.9-2.0", "1.10", "1.9-1.10"}


@pytest.mark.parametrize(
    ("versions", "kept"),
    [(0, set()), (1, {"2.1"}), (2, {"2.1", "2.0"}), (3, {"2.1", "2.0", "1.10"}), (9, {"2.1", "2.0", "1.10", "1.9"})],
)
def test_what_a_document_needs(versions: int, kept: set[str]) -> None:
    """All transfers of what is live or paused, and the full ones of the newest versions, by number and not by text."""
    assert list_needed(DOCUMENT, versions) == {name(text) for text in OF_RELEASES | kept}


def test_what_trials_need() -> None:
    """A version that trials may give keeps its files, though no release that goes on names it."""
    assert list_needed({**DOCUMENT, "trials": ["2.1"]}, 0) == {name(text) for text in OF_RELEASES | {"2.1", "2.0-2.1"}}


@pytest.mark.parametrize(
    "change",
    [
        {"packages": None},
        {"packages": {"1.0": {}}, "releases": []},
        {"packages": {"1.0": {"transfers": []}}, "releases": []},
        {"packages": {"1.0": {"transfers": [{"format": "zip", "sha256": "00" * 32}]}}, "releases": []},
        {"packages": {"1.0": {"transfers": [{"format": "zstd", "sha256": "AA" * 32}]}}, "releases": []},
        {"packages": {"one": package("zstd:1")}, "releases": []},
        {"packages": {}, "releases": [{"package": "1.0"}]},
        {"packages": {}, "releases": [], "trials": ["1.0"]},
        {"packages": {"1.0": package("zstd:1")}, "releases": [{"package": "1.0", "state": "sleeping"}]},
    ],
)
def test_document_that_is_not_understood(change: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A document that this version cannot read to the end keeps everything."""
    publisher = Publisher("http://127.0.0.1:1", "token")
    monkeypatch.setattr(publisher, "list_names", lambda: [("program", TEA)])
    monkeypatch.setattr(publisher, "get", lambda *_: (DOCUMENT | change, "7"))
    with pytest.raises(CommandError, match=f"^document of program {TEA}: .*; nothing is removed$"):
        read_needed(publisher, 5)


@pytest.mark.parametrize(
    ("document", "needed"),
    [
        ({"audience": "qa", "sha256": name("list")}, {name("list")}),
        ({"audience": "qa", "patterns": ["a"]}, set()),
        ({"audience": "qa", "removed": True}, set()),
    ],
)
def test_what_an_audience_needs(document: dict[str, Any], needed: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file, where it has one."""
    publisher = Publisher("http://127.0.0.1:1", "token")
    monkeypatch.setattr(publisher, "list_names", lambda: [("audience", "qa")])
    monkeypatch.setattr(publisher, "get", lambda *_: (document, "7"))
    assert read_needed(publisher, 5) == needed


@pytest.mark.parametrize("document", [{}, {"audience": "qa", "sha256": "AA"}, {"audience": "qa", "sha256": 7}])
def test_audience_that_is_not_understood(document: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps everything."""
    publisher = Publisher("http://127.0.0.1:1", "token")
    monkeypatch.setattr(publisher, "list_names", lambda: [("audience", "qa")])
    monkeypatch.setattr(publisher, "get", lambda *_: (document, "7"))
    with pytest.raises(CommandError, match=r"^document of audience qa: .*; nothing is removed$"):
        read_needed(publisher, 5)


def test_document_of_another_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of other kinds it is not known what they need: everything is kept."""
    publisher = Publisher("http://127.0.0.1:1", "token")
    monkeypatch.setattr(publisher, "list_names", lambda: [("sun\n", "x")])
    with pytest.raises(CommandError) as caught:
        read_needed(publisher, 5)
    said = (
        "expected documents of kinds 'program', 'audience', 'switches' alone, got 'sun\\n': what it needs is not known"
    )
    assert caught.value.message == f"{said}; nothing is removed"


def test_switches_need_no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """A switch set is passed over, unread."""
    publisher = Publisher("http://127.0.0.1:1", "token")
    monkeypatch.setattr(publisher, "list_names", lambda: [("switches", "app")])
    assert read_needed(publisher, 5) == set()


def test_document_that_is_listed_and_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """A document that cannot be had keeps everything."""
    publisher = Publisher("http://127.0.0.1:1", "token")
    monkeypatch.setattr(publisher, "list_names", lambda: [("program", TEA)])
    monkeypatch.setattr(publisher, "get", lambda *_: (None, ""))
    with pytest.raises(CommandError, match="; nothing is removed"):
        read_needed(publisher, 5)


@given(
    files=st.lists(
        st.tuples(st.integers(0, 20), st.integers(0, 9), st.integers(-2, 2)), unique_by=lambda file: file[0]
    ),
    needed=st.sets(st.integers(0, 20)),
)
def test_sorting_out(files: list[tuple[int, int, int]], needed: set[int]) -> None:
    """A file goes exactly if it is not needed and was put before; each file is in one of both lots."""
    stored = [StoredFile(name(str(number)), size, NOW + age) for number, size, age in files]
    result = sort_out(stored, ["README"], {name(str(number)) for number in needed}, NOW)
    wanted = {name(str(number)) for number, _, age in files if number not in needed and age < 0}
    assert {file.sha256 for file in result.unneeded} == wanted
    assert result.kept + len(result.unneeded) == len(files)
    assert [file.size for file in result.unneeded] == sorted((file.size for file in result.unneeded), reverse=True)
    assert (result.removed, result.strangers) == ([], ["README"])


class Shelf:
    """A store in a folder, and what makes its files old.

    Args:
        folder: where.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.store = folder, LocalStore(folder)

    def put(self, content: bytes, days: float = 100) -> str:
        """Puts a file that was put so many days ago."""
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            sha256 = self.store.put(Path(file.name))
        self.age(sha256, days)
        return sha256

    def age(self, sha256: str, days: float) -> None:
        """Makes a file look as put so many days ago."""
        then = time.time() - days * DAY_S
        os.utime(self.store.path(sha256), (then, then))

    def names(self) -> set[str]:
        """Returns what is there."""
        return {file.sha256 for file in self.store.files()}


@pytest.fixture
def shelf(running: Running, graywave: Run, tmp_path: Path) -> Shelf:
    """A store with the files of one of the programs that run, all old."""
    shelf, served = Shelf(tmp_path / "shelf"), LocalStore(running.data / "store")
    document = json.loads(graywave("document get", TEA).stdout)
    for sha256 in list_needed(document, 0):
        shelf.put(b"".join(served.read(sha256)))
    return shelf


def test_dry_run(graywave: Run, shelf: Shelf) -> None:
    """Without --delete everything stays, and what would go is listed, with the total."""
    small, large = shelf.put(b"a"), shelf.put(b"larger")
    there = shelf.names()
    result = graywave("gc", "--store", shelf.folder)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        f"{large} 6 bytes",
        f"{small} 1 bytes",
        f"would remove 2 of {len(there)} files, 7 bytes",
    ]
    assert shelf.names() == there


def test_removing(graywave: Run, shelf: Shelf) -> None:
    """With --delete exactly the files go that nothing needs: those of releases stay, however old."""
    needed = shelf.names()
    shelf.put(b"old", 31)
    young = shelf.put(b"young", 29)
    result = graywave("gc", "--store", shelf.folder, "--delete")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"{name('old')} 3 bytes\nremoved 1 of {len(needed) + 2} files, 3 bytes\n"
    assert shelf.names() == needed | {young}


def test_release_under_way(graywave: Run, shelf: Shelf) -> None:
    """An old file that is put again, for a release that is to come, stays."""
    sha256 = shelf.put(b"old", 400)
    with (shelf.folder / "again").open("wb") as file:
        file.write(b"old")
    shelf.store.put(shelf.folder / "again")
    assert graywave("gc", "--store", shelf.folder, "--delete", "--keep-days", "1").exit_code == 0
    assert sha256 in shelf.names()


def test_for_scripts(graywave: Run, shelf: Shelf) -> None:
    """--json tells each file, whether it is gone, and the sums."""
    sha256 = shelf.put(b"old")
    file = shelf.store.find(sha256)
    there = len(shelf.names())
    for arguments, gone in (((), False), (("--delete",), True)):
        result = graywave("gc", "--store", shelf.folder, "--json", *arguments)
        assert file is not None
        assert json.loads(result.stdout) == {
            "kept": there - 1,
            "unneeded": [{"sha256": sha256, "size": 3, "stored_at": file.stored_at, "removed": gone}],
            "total": 3,
            "removed": 3 if gone else 0,
            "strangers": [],
        }


def test_strangers_are_left_alone(graywave: Run, shelf: Shelf) -> None:
    """What is no package file is named and stays, whatever its name says to a terminal."""
    stranger = shelf.folder / "note\x1b[2J"
    stranger.write_text("mine")
    os.utime(stranger, (0, 0))
    try:
        result = graywave("gc", "--store", shelf.folder, "--delete")
        assert result.exit_code == 0
        assert result.stderr == "left alone, no package file: note\\x1b[2J\n"
        assert stranger.read_text() == "mine"
    finally:
        stranger.unlink()


def test_old_versions_of_a_program(graywave: Run, running: Running, shelf: Shelf, tmp_path: Path) -> None:
    """The full transfer of an ended release stays while it is among the newest versions."""
    made = [release(graywave, tmp_path, f"1.{number}.0") for number in range(3)]
    document = json.loads(graywave("document get", OTHER).stdout)
    for one in document["releases"][1:]:
        one["state"] = "ended"
    (tmp_path / "document.json").write_text(json.dumps(document))
    assert graywave("document put", tmp_path / "document.json").exit_code == 0
    for sha256 in made:
        shelf.put(b"".join(LocalStore(running.data / "store").read(sha256)))
    for versions, gone in ((3, []), (2, made[:1]), (1, made[:2])):
        result = graywave("gc", "--store", shelf.folder, "--json", "--keep-versions", versions)
        assert {file["sha256"] for file in json.loads(result.stdout)["unneeded"]} == set(gone)


def release(graywave: Run, folder: Path, version: str) -> str:
    """Releases a version of a program, and returns the digest of its transfer."""
    source, out = folder / version, folder / f"out-{version}"
    source.mkdir()
    (source / "index.html").write_text(version)
    options = ("--program", OTHER, "--version", version, "--level", "1", "--out", out)
    assert graywave("pack", source, *options).exit_code == 0
    result = graywave("release", out, "--no-refine")
    assert result.exit_code == 0, result.stderr
    return str(json.loads((out / "package.json").read_bytes())["package"]["transfers"][0]["sha256"])


def test_store_of_another(graywave: Run, tmp_path: Path) -> None:
    """A store with nothing that the documents name is somebody else's: nothing is removed."""
    other = Shelf(tmp_path / "other")
    other.put(b"theirs")
    result = graywave("gc", "--delete", "--store", other.folder)
    assert result.exit_code == 1
    said = "expected a store with files of the publisher's documents, got one with none of them: is it another's?"
    assert result.stderr == f"graywave: {said} nothing is removed\n"
    assert other.names() == {name("theirs")}


def test_store_that_is_empty(graywave: Run, tmp_path: Path) -> None:
    """Where there is nothing, there is nothing to remove."""
    result = graywave("gc", "--delete", "--store", tmp_path / "none")
    assert (result.exit_code, result.stdout) == (0, "removed 0 of 0 files, 0 bytes\n")


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ((500, b'{"error":{"code":"internal","message":"it has failed"}}'), Exit.REFUSED),
        ((200, b"<html>"), Exit.UNREACHABLE),
        ((200, b'{"documents":[{"kind":"program"}]}'), Exit.FAILED),
        ((200, b'{"documents":7}'), Exit.FAILED),
        ((200, b'{"documents":[]}'), Exit.FAILED),
    ],
)
def test_publisher_that_does_not_tell(
    run: Run, serve: Callable[[int, bytes], str], tmp_path: Path, answer: tuple[int, bytes], code: int
) -> None:
    """Without all documents nothing is removed."""
    shelf = Shelf(tmp_path / "store")
    shelf.put(b"old")
    (tmp_path / "token").write_text("token")
    where = ("--publisher", serve(*answer), "--token-file", tmp_path / "token", "--store", shelf.folder)
    result = run("gc", "--delete", *where)
    assert result.exit_code == code
    assert shelf.names() == {name("old")}


def test_nothing_runs(run: Run, tmp_path: Path) -> None:
    """Without a publisher nothing is removed."""
    Shelf(tmp_path / "data" / "store").put(b"old")
    assert run("gc", "--delete").exit_code == Exit.UNREACHABLE
    assert (tmp_path / "data" / "store" / name("old")[:2] / name("old")).exists()


def test_store_that_cannot_be_read(graywave: Run, tmp_path: Path) -> None:
    """A store that is none, or cannot be listed, is named."""
    (tmp_path / "file").write_text("x")
    result = graywave("gc", "--store", tmp_path / "file")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"graywave: {tmp_path}/file: expected to list the files of {tmp_path}/file: ")
    result = graywave("gc", "--store", "gs://bucket")
    assert result.exit_code == 2
    assert result.stderr.startswith("graywave: expected a folder or s3://bucket ")


@pytest.mark.parametrize("days", ["0", "3651", "x"])
def test_days_that_are_none(run: Run, days: str) -> None:
    """Files of the last day cannot be given up: a release may be on its way."""
    assert run("gc", "--keep-days", days).exit_code == 2


def test_file_that_is_put_again_meanwhile(tmp_path: Path) -> None:
    """A file that becomes young, or goes, between listing and removing is not removed."""
    shelf = Shelf(tmp_path / "store")
    digests = [shelf.put(text, 10) for text in (b"a", b"b", b"c")]
    before = int(time.time()) - DAY_S
    result = sort_out(list(shelf.store.files()), [], set(), before)
    shelf.put(b"b", 0)
    shelf.store.remove(digests[2])
    remove(shelf.store, result, before)
    assert shelf.names() == {digests[1]}
    assert [file.sha256 for file in result.removed] == digests[:1]


def test_store_that_refuses_half_way(graywave: Run, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was removed until then is told, and then what went wrong."""
    shelf.put(b"larger")
    shelf.put(b"a")
    real = LocalStore.remove

    def refuse(self: LocalStore, sha256: str) -> None:
        if sha256 == name("a"):
            raise StoreError("expected to remove it, got a refusal")
        real(self, sha256)

    monkeypatch.setattr(LocalStore, "remove", refuse)
    result = graywave("gc", "--store", shelf.folder, "--delete")
    assert result.exit_code == 1
    assert result.stdout.startswith(f"{name('larger')} 6 bytes\nremoved 1 of ")
    assert result.stderr == "graywave: expected to remove it, got a refusal\n"


def test_what_is_told_of_nothing() -> None:
    """A result without files has sums of zero."""
    assert list(Result(0, [], []).describe(is_dry=True)) == ["would remove 0 of 0 files, 0 bytes"]


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An S3 server that checks signatures."""
    with run_moto(tmp_path_factory.mktemp("moto")) as server:
        yield server


def test_bucket(graywave: Run, shelf: Shelf, moto: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store in a bucket is cleaned as a folder is; what is needed stays."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", moto.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", moto.secret_key)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    address = f"s3://{moto.make_bucket()}/packages?endpoint={moto.endpoint}"
    store = open_store(address)
    (tmp_path / "file").write_text("unneeded")
    unneeded = store.put(tmp_path / "file")
    needed = {store.put(shelf.store.path(sha256)) for sha256 in shelf.names()}
    in_a_while = int(time.time()) + 40 * DAY_S
    monkeypatch.setattr(gc, "time", SimpleNamespace(time=lambda: in_a_while))
    result = graywave("gc", "--store", address, "--delete")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"{unneeded} 8 bytes\nremoved 1 of {len(needed) + 1} files, 8 bytes\n"
    assert {file.sha256 for file in store.files()} == needed
