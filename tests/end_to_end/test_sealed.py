"""Sealed packages with real processes: who is told the key, who is not, and where it must never be.

Commands, servers and devices' `graywave update` are processes; what devices and the edge say to each other is kept by a
wire between them.
"""

import base64
import http.client
import itertools
import json
import os
import re
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bundle import LocalStore, SealError, unseal
from bundle.delta import MAGIC
from cli.publishing import Publisher
from tests.cli.running import Running
from tests.end_to_end.town import PATIENCE_S, ask, eventually, read_folder, read_phone, run_graywave, write_program

AGE_HEADER = b"age-encryption.org/v1\n-> X25519 "
# Bech32, as age writes it, in either case.
AGE_KEY = re.compile(rb"age-secret-key-1[02-9ac-hj-np-z]{58}", re.IGNORECASE)
BASE64 = re.compile(rb"[A-Za-z0-9_+/-]{80,}")
LONG_AGO = 1_577_836_800
_programs = (f"20210000000005{number:02}" for number in itertools.count(1))


class Wire:
    """Stands between devices and an edge, passes on what is said, and keeps it: `questions` and `answers`.

    Args:
        edge: where to pass it on to.
    """

    def __init__(self, edge: str) -> None:
        self.questions: list[bytes] = []
        self.answers: list[bytes] = []
        wire = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                upstream = http.client.HTTPConnection(edge, timeout=PATIENCE_S)
                upstream.request(self.command, self.path, body, dict(self.headers))
                answer = upstream.getresponse()
                content = answer.read()
                upstream.close()
                wire.questions.append(f"{self.command} {self.path}\n{self.headers}".encode() + body)
                wire.answers.append(str(answer.headers).encode() + content)
                self.send_response_only(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in {"connection", "content-length", "transfer-encoding"}:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_POST = do_GET

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True  # devices keep connections open
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        """Ends it."""
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


class Shop:
    """A Graywave that seals what it releases; `said` is all that its commands have said.

    Args:
        running: its servers.
        folder: for sources, packages, client.json and phones.
    """

    def __init__(self, running: Running, folder: Path) -> None:
        self.running, self.folder = running, folder
        self.store = LocalStore(running.data / "store")
        self.wire = Wire(running.edge)
        self.config = folder / "client.json"
        self.scratch = folder / "scratch"
        self.scratch.mkdir()
        self.said: list[str] = []
        token = (running.data / "token").read_text("ascii").strip()
        self._publisher = Publisher(f"http://{running.publisher}", token)
        self.run("client", "--edge", self.wire.url, "--out", self.config)

    def run(self, *words: object) -> str:
        """Runs a command that should do well, and returns what it prints."""
        environ = os.environ | {"TMPDIR": str(self.scratch)}
        done = run_graywave(*words, "--data", self.running.data, environ=environ)
        self.said.append(done.stdout + done.stderr)
        assert done.returncode == 0, self.said[-1]
        return done.stdout

    def release(self, program: str, version: str, *options: str, is_sealed: bool = True) -> dict[str, bytes]:
        """Packs a version and releases it; returns its files, once an edge knows."""
        source, out = self.folder / f"{program}-{version}", self.folder / f"packed-{program}-{version}"
        files = write_program(source, version)
        seal = ["--seal"] if is_sealed else []
        self.run("pack", source, "--program", program, "--version", version, "--out", out, *seal)
        self.run("release", out, *options)
        self._wait()
        return files

    def publish(self, program: str, change: dict[str, Any]) -> None:
        """Changes a program's only release, as a control plane does; returns once an edge knows."""
        document, revision = self._publisher.get(program)
        assert document is not None
        document["releases"][0] |= change
        self._publisher.put(document, revision)
        self._wait()

    def _wait(self) -> None:
        """Returns once the edge has all that is published."""
        newest = max(int(self._publisher.get(program)[1]) for _, program in self._publisher.list_names())
        eventually(lambda: self.ask("0")["revision"] >= newest)

    def ask(self, program: str, user: str = "u-9", installed: str = "") -> Any:
        """What an edge answers to a check of a user, through the wire."""
        device = {"id": "d-1", "platform": "android", "user": user}
        question = {"workspace": "demo", "device": device, "programs": {program: installed}}
        return ask(self.wire.url.removeprefix("http://"), "POST", "/v1/check", question)[1]

    def read_page(self, name: str) -> bytes:
        """A page for operators, as it comes."""
        connection = http.client.HTTPConnection(self.running.admin, timeout=PATIENCE_S)
        connection.request("GET", f"/{name}")
        page = connection.getresponse().read()
        connection.close()
        return page

    def read_package(self, program: str, version: str) -> Any:
        """What is published of a version, its key too."""
        document, _ = self._publisher.get(program)
        assert document is not None
        return document["packages"][version]

    def update(self, program: str, phone: Path, user: str) -> Any:
        """Updates a user's phone, through the wire; returns what became of it."""
        device = ("--device", f"user={user}", "--device", f"id={phone.name}")
        words = ("--config", self.config, "--folder", phone, "--json", *device)
        (outcome,) = json.loads(self.run("update", program, *words))
        return outcome

    def clean(self, *words: str) -> Any:
        """What `graywave gc` finds unneeded, once everything in the store is old: digests."""
        for file in self.store.files():
            os.utime(self.store.path(file.sha256), (LONG_AGO, LONG_AGO))
        found = json.loads(self.run("gc", "--json", *words))["unneeded"]
        return {file["sha256"] for file in found if file["removed"] == ("--delete" in words)}


def find_keys(material: Iterable[bytes]) -> set[bytes]:
    """Returns what looks like a key of age in whatever is there, in what is base64 in it too."""
    found: set[bytes] = set()
    for content in material:
        found.update(AGE_KEY.findall(content))
        for run in BASE64.findall(content):
            for start in range(4):  # where it begins in what looks like base64
                text = run[start:].replace(b"-", b"+").replace(b"_", b"/")
                found.update(AGE_KEY.findall(base64.b64decode(text[: len(text) // 4 * 4])))
    return {key.upper() for key in found}


def open_sealed(shop: Shop, keys: Iterable[bytes], digests: Iterable[str]) -> set[str]:
    """Returns those of the files that one of the keys opens."""
    opened: set[str] = set()
    for key, sha256 in itertools.product([key.decode() for key in keys], digests):
        try:
            unseal(shop.store.path(sha256), shop.folder / "opened", key)
        except SealError:
            continue
        opened.add(sha256)
    return opened


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Servers, and a wire to them."""
    with Running(tmp_path_factory.mktemp("up"), ["--no-demo"], {"GRAYWAVE_EDGE_WORKERS": "1"}) as running:
        shop = Shop(running.wait_ready(), tmp_path_factory.mktemp("shop"))
        try:
            yield shop
        finally:
            shop.wire.close()


@dataclass(frozen=True, slots=True)
class Story:
    """What has happened with one program: 1.0.0 is open to all, 1.1.0 sealed for u-1, 1.2.0 sealed for u-2.

    A covered phone went from nothing to 1.1.0, and as u-2 to 1.2.0; another is nobody's of these.
    """

    program: str
    sources: dict[str, dict[str, bytes]]
    phones: Path
    outcomes: list[Any]
    covered: list[bytes]
    others: list[bytes]


@pytest.fixture(scope="module")
def story(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Story:
    """What the tests look back at."""
    program, phones = next(_programs), tmp_path_factory.mktemp("phones")
    sources = {
        "1.0.0": shop.release(program, "1.0.0", is_sealed=False),
        "1.1.0": shop.release(program, "1.1.0", "--user", "u-1"),
        "1.2.0": shop.release(program, "1.2.0", "--user", "u-2"),
    }
    answers = shop.wire.answers
    start = len(answers)
    outcomes = [shop.update(program, phones / "covered", user) for user in ("u-1", "u-2")]
    middle = len(answers)
    outcomes.append(shop.update(program, phones / "other", "u-9"))
    shop.ask(program, "u-9", "1.1.0")
    covered, others = answers[start:middle], answers[middle:]
    shop.run("check", program, "--device", "user=u-2")
    shop.run("doctor", "--config", shop.config, "--folder", phones / "covered", "--device", "user=u-2")
    return Story(program, sources, phones, outcomes, covered, others)


def test_only_covered_devices_have_it(shop: Shop, story: Story) -> None:
    """Devices that a release covers install it; any other is told another version, and no key."""
    first, second, other = story.outcomes
    assert [first["status"], second["status"], other["status"]] == ["activated"] * 3
    assert [first["version"], second["version"], other["version"]] == ["1.1.0", "1.2.0", "1.0.0"]
    for phone, version in (("covered", "1.1.0"), ("covered", "1.2.0"), ("other", "1.0.0")):
        assert read_phone(story.phones / phone, story.program, version) == story.sources[version]
    keys = {shop.read_package(story.program, version)["key"].encode() for version in ("1.1.0", "1.2.0")}
    assert len(keys) == 2
    assert find_keys(story.covered) == keys
    assert len(story.others) > 3
    assert find_keys(story.others) == set()


def test_second_version_comes_as_a_sealed_delta(shop: Shop, story: Story) -> None:
    """From one sealed version to the next a delta moves, as small as an open one, and only its own key opens it."""
    outcome = story.outcomes[1]
    older, package = (shop.read_package(story.program, version) for version in ("1.1.0", "1.2.0"))
    transfers = {(transfer["format"], transfer.get("from")): transfer for transfer in package["transfers"]}
    delta, full = transfers["dcz", "1.1.0"], transfers["zstd", None]
    assert (outcome["transfer"], outcome["bytes"]) == ("dcz", delta["size"])
    assert delta["size"] < full["size"] // 10
    path, clear = shop.store.path(delta["sha256"]), shop.folder / "clear"
    assert path.read_bytes().startswith(AGE_HEADER)
    unseal(path, clear, package["key"])
    assert clear.read_bytes().startswith(MAGIC + bytes.fromhex(older["sha256"]))
    with pytest.raises(SealError):
        unseal(path, clear, older["key"])


def test_key_is_in_answers_alone(shop: Shop, story: Story) -> None:
    """No log, no command, no report, no page for operators, no file for devices, and none on them, has a key."""
    running, covered = shop.running, story.phones / "covered"
    logs = {path.name: path.read_bytes() for path in running.data.glob("*.log")} | {"up": running.said.encode()}
    assert {"edge.log", "publisher.log"} <= logs.keys()
    # What devices reported is counted a moment later.
    versions = f"versions?workspace=demo&program={story.program}"
    eventually(lambda: b"1.2.0" in shop.read_page(versions))
    pages = {page: shop.read_page(page) for page in ("status", "metrics", versions)}
    reports = [question for question in shop.wire.questions if question.startswith(b"POST /v1/report")]
    devices = [*read_folder(covered).values(), *read_folder(story.phones / "other").values()]
    devices += read_folder(running.temporary).values()
    files = [shop.config.read_bytes(), (running.data / "client.json").read_bytes()]
    stored = [*read_folder(running.data / "store").values()]
    assert b"1.2.0" in b"".join(reports)
    assert '"key": "***"' in "".join(shop.said)
    said = [text.encode() for text in shop.said]
    everything = [*logs.values(), *said, *pages.values(), *shop.wire.questions, *devices, *files, *stored]
    assert find_keys(everything) == set()
    for version in ("1.1.0", "1.2.0"):
        key = shop.read_package(story.program, version)["key"]
        assert key.partition("1")[2].lower().encode() not in b"\n".join(everything).lower()
    assert list(shop.scratch.iterdir()) == []


def test_store_has_ciphertext(shop: Shop, story: Story) -> None:
    """Each file of a sealed version is one of age with nothing of the content in it, and devices get just that."""
    picture = story.sources["1.2.0"]["icon.png"]  # noise: whatever packs it leaves it as it is
    open_one = shop.read_package(story.program, "1.0.0")["transfers"][0]["sha256"]
    assert picture[1000:1100] in shop.store.path(open_one).read_bytes()
    for version in ("1.1.0", "1.2.0"):
        package = shop.read_package(story.program, version)
        assert len(package["transfers"]) > 1
        for transfer in package["transfers"]:
            content = shop.store.path(transfer["sha256"]).read_bytes()
            assert content.startswith(AGE_HEADER)
            assert not any(picture[at : at + 32] in content for at in range(0, len(picture), 32))
            connection = http.client.HTTPConnection(shop.running.edge, timeout=PATIENCE_S)
            connection.request("GET", transfer["url"])
            assert connection.getresponse().read() == content
            connection.close()
        assert ask(shop.running.edge, "GET", f"/v1/packages/{package['sha256']}")[0] == 404
    assert len(read_folder(shop.running.data / "store")) >= 6


def test_leaked_key_is_replaced(shop: Shop, tmp_path: Path) -> None:
    """After `reseal` devices get the new key and files; the old ones are what `gc` removes, and open nothing else."""
    program, phone = next(_programs), tmp_path / "phone"
    shop.release(program, "1.0.0")
    assert shop.update(program, phone, "u-9")["version"] == "1.0.0"
    files = shop.release(program, "1.1.0")
    leaked = shop.read_package(program, "1.1.0")
    old = {transfer["sha256"] for transfer in leaked["transfers"]}
    told = json.loads(shop.run("reseal", program, "1.1.0", "--json"))
    eventually(lambda: shop.ask(program)["updates"][0]["key"] != leaked["key"])
    assert set(told["old_files"]) == old
    package = shop.read_package(program, "1.1.0")
    new = {transfer["sha256"] for transfer in package["transfers"]}
    assert (package["signature"], len(new & old), len(new)) == (leaked["signature"], 0, len(old))
    start = len(shop.wire.answers)
    outcome = shop.update(program, phone, "u-9")
    assert (outcome["status"], outcome["version"], outcome["transfer"]) == ("activated", "1.1.0", "dcz")
    assert read_phone(phone, program, "1.1.0") == files
    assert find_keys(shop.wire.answers[start:]) == {package["key"].encode()}
    assert leaked["key"] != package["key"]
    assert open_sealed(shop, [leaked["key"].encode()], old) == old
    assert shop.clean() == old
    assert shop.clean("--delete") == old
    there = {file.sha256 for file in shop.store.files()}
    assert new <= there
    assert open_sealed(shop, [leaked["key"].encode()], there) == set()
    assert shop.update(program, tmp_path / "another", "u-9")["version"] == "1.1.0"
    assert find_keys(text.encode() for text in shop.said) == set()


def test_package_that_nobody_has_yet(shop: Shop, tmp_path: Path) -> None:
    """A whole copy of the store, of client.json, and of all that uncovered devices are told opens no sealed file."""
    program, start = next(_programs), len(shop.wire.answers)
    shop.release(program, "1.0.0", "--percent", "0")
    digests = {transfer["sha256"] for transfer in shop.read_package(program, "1.0.0")["transfers"]}
    # To nobody; to one, and paused; to one, and live.
    changes: list[dict[str, Any]] = [{}, {"who": {"users": ["u-1"]}, "state": "paused"}, {"state": "live"}]
    for change in changes:
        shop.publish(program, change)
        users = ["", "u-2"] if "live" in change.values() else ["", "u-2", "u-1"]
        assert [shop.ask(program, user)["updates"] for user in users] == [[]] * len(users)
        words = ("--config", shop.config, "--folder", tmp_path / "phone", "--device", f"user={users[-1]}", "--json")
        assert json.loads(shop.run("update", program, *words)) == []
    stored = {file.sha256 for file in shop.store.files()}
    root = json.dumps(ask(shop.running.edge, "GET", "/v1/root/1?workspace=demo")[1]).encode()
    copy = [*read_folder(shop.running.data / "store").values(), shop.config.read_bytes(), root]
    assert digests <= stored
    assert len(shop.wire.answers[start:]) > 8
    assert open_sealed(shop, find_keys([*copy, *shop.wire.answers[start:]]), digests) == set()
    assert shop.ask(program, "u-1")["updates"]  # with it, the same search finds the key
    assert open_sealed(shop, find_keys(shop.wire.answers[start:]), stored) == digests
