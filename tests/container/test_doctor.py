"""The doctor: a device that gets its updates has no fault, and of one that does not the first fault is named."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from bundle import pack
from cli.client import make_client
from container import (
    ConfigError,
    Container,
    Device,
    EdgeError,
    NetworkError,
    OverloadedError,
    Response,
    StorageError,
    VerificationError,
    load_config,
)
from container.doctor import CHECKS, ClockError, Finding, examine
from container.wire import MAX_ANSWER_BYTES
from trust import ROLES, ClientClaim, ClientDefaults, Offer, PrivateKey, TransferClaim, make_root, sign_offer

PROGRAM, UNKNOWN = "2021000000000001", "2021000000000009"
NOW, DAY = 1_794_000_000, 86_400
KEYS = {name: PrivateKey.generate() for name in ROLES}
NEXT, STRANGER = PrivateKey.generate(), PrivateKey.generate()
EDGE, EDGE_2 = "http://edge-1.test", "http://edge-2.test/base"
ORDER = ["config", *(check.name for check in CHECKS)]


def make_root_document(expires: int = NOW + 365 * DAY, **given: Any) -> bytes:
    return make_root("demo", 1, expires, {name: [key.public] for name, key in KEYS.items()}, [KEYS["root"]], **given)


def make_successor(*signers: PrivateKey, expires: int = NOW + 365 * DAY) -> bytes:
    roles = {name: [NEXT.public if name == "root" else key.public] for name, key in KEYS.items()}
    return make_root("demo", 2, expires, roles, signers or (KEYS["root"], NEXT))


class Town:
    """A device, and edges of which each does what a test says: a fault stands for its every answer."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder / "programs", folder / "client.json"
        self.time = float(NOW)
        self.date: float | None = None
        self.roots = {1: make_root_document()}
        self.told_root = 1
        self.faults: dict[str, tuple[int, bytes] | NetworkError] = {}
        self.requests: list[str] = []
        self.etag = '"strong"'
        self.has_ranges, self.forgets = True, False
        self.names: dict[str, str] = {}
        self.stream: Callable[[], Iterator[bytes]] | None = None
        self.has_release = True
        self.url = "/v1/files/{sha256}"
        self.change: dict[str, Any] = {}
        (folder / "source").mkdir()
        (folder / "source/app.js").write_bytes(b"App()" * 100)
        self.packed = pack(
            folder / "source", folder / "packed", workspace="demo", program=PROGRAM, version="1.0",
            keys=[KEYS["package"]], level=1,
        )  # fmt: skip
        self.file = self.packed.transfer.read_bytes()
        self.configure(EDGE)

    def configure(self, *edges: str, issued: int = NOW - DAY, programs: tuple[str, ...] = ()) -> None:
        claim = ClientClaim(workspace="demo", issued=issued, edges=edges, defaults=ClientDefaults(programs=programs))
        self.path.write_bytes(make_client(claim, [self.roots[1]], [KEYS["root"]]))

    def examine(self, *programs: str) -> dict[str, Finding]:
        device = Device("d-1", "android")
        found = examine(self.path, self.folder, device, programs, fetcher=self, now=lambda: self.time)
        findings = {finding.check: finding for finding in found}
        assert list(findings) == ORDER
        return findings

    def fetch(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, timeout: float) -> Response:
        assert timeout > 0
        assert headers["Accept-Encoding"] == "identity"
        self.requests.append(f"{method} {url}")
        base = next((edge for edge in (EDGE, EDGE_2) if url.startswith(edge + "/")), "")
        fault = self.faults.get(base)
        if isinstance(fault, NetworkError):
            raise fault
        status, content, names = (*fault, {}) if fault else self.answer(url.removeprefix(base), headers, body)
        date = format_datetime(datetime.fromtimestamp(self.time if self.date is None else self.date, UTC), usegmt=True)
        stream = self.stream() if self.stream else iter([content])
        return Response(status, {"date": date, **names, **self.names}, stream, lambda: None)

    def answer(self, path: str, headers: Mapping[str, str], body: bytes | None) -> tuple[int, bytes, Mapping[str, str]]:
        if path == "/v1/check":
            return 200, self.check(json.loads(body or b"")["programs"]), {}
        if path.startswith("/v1/root/"):
            document = self.roots.get(int(path.split("/")[3].partition("?")[0]))
            return (200, document, {}) if document else (404, b'{"error":{"code":"not_found"}}', {})
        is_forgotten = self.forgets and "If-Range" in headers
        if "Range" in headers and self.has_ranges and not is_forgotten:
            return 206, self.file[:1], {"content-range": f"bytes 0-0/{len(self.file)}", "etag": self.etag}
        return 200, self.file, {"etag": self.etag}

    def check(self, asked: dict[str, str]) -> bytes:
        assert asked, "no edge answers a question about nothing"
        known = [self.update()] if PROGRAM in asked and self.has_release else []
        answer = {"revision": 7, "root": self.told_root, "poll_after": 60, "updates": known}
        return json.dumps({**answer, "unknown": [program for program in asked if program != PROGRAM]}).encode()

    def update(self) -> dict[str, Any]:
        claim, packed = self.packed.claim, self.packed
        transfer = TransferClaim(format="zstd", size=packed.transfer_size, sha256=packed.transfer_sha256)
        members: dict[str, Any] = {
            "workspace": "demo", "program": PROGRAM, "action": "install", "version": "1.0", "sha256": claim.sha256,
            "epoch": 1, "revision": 7, "issued": NOW - DAY, "expires": NOW + DAY, "transfers": (transfer,),
        }  # fmt: skip
        offer = Offer(**{**members, **self.change})
        told = {"format": "zstd", "url": self.url.format(sha256=packed.transfer_sha256),
                "size": packed.transfer_size, "sha256": packed.transfer_sha256}  # fmt: skip
        return {
            "program": PROGRAM, "version": "1.0", "release": "r1", "action": "install", "size": claim.size,
            "sha256": claim.sha256, "signature": packed.signature, "transfers": [told],
            "offer": sign_offer(offer, KEYS["offer"]),
        }  # fmt: skip


@pytest.fixture
def town(tmp_path: Path) -> Town:
    """A device whose edge has all that it needs."""
    return Town(tmp_path)


def first_fault(findings: Mapping[str, Finding]) -> Finding:
    """Returns the first fault, which says what to do."""
    finding = next(finding for finding in findings.values() if finding.error is not None)
    assert finding.advice
    return finding


def faults(findings: Mapping[str, Finding]) -> list[str]:
    return [name for name, finding in findings.items() if finding.error is not None]


def skipped(findings: Mapping[str, Finding]) -> list[str]:
    return [name for name, finding in findings.items() if finding.is_skipped]


def test_all_is_well(town: Town) -> None:
    """A device that gets its updates has no fault, and each check says what it saw."""
    findings = town.examine(PROGRAM)
    assert (faults(findings), skipped(findings)) == ([], [])
    seen = {name: finding.seen for name, finding in findings.items()}
    size, sha256 = town.packed.transfer_size, town.packed.transfer_sha256
    assert seen == {
        "config": "workspace demo, signed 2026-11-05 21:20:00Z by root 1",
        "folder": f"{town.folder / 'demo'}: 0 installed",
        "clock": "2026-11-06 21:20:00Z, as an edge's",
        "addresses": EDGE,
        "workspace": "demo, revision 7",
        "keys": "root 1, epoch 1, expires 2027-11-06 21:20:00Z; "
        "signers: root 1 of 1, package 1 of 1, offer 1 of 1, channel 1 of 1",
        "offers": f"{PROGRAM} 1.0, until 2026-11-07 21:20:00Z",
        "store": f"{EDGE}/v1/files/{sha256}, {size} bytes",
        "range": "206, and a strong ETag",
    }


def test_nothing_is_changed(town: Town, tmp_path: Path) -> None:
    """The doctor leaves a device as it was: nothing is made, nothing is reported."""
    before = sorted(tmp_path.rglob("*"))
    town.examine(PROGRAM)
    assert sorted(tmp_path.rglob("*")) == before
    assert not any("report" in request for request in town.requests)


def test_an_address_is_asked_once(town: Town) -> None:
    """However many checks look at an answer, it is asked for once."""
    town.configure(EDGE, EDGE_2)
    town.examine(PROGRAM)
    assert [request for request in town.requests if "check" in request] == [
        f"POST {EDGE}/v1/check", f"POST {EDGE_2}/v1/check",
    ]  # fmt: skip


def test_bad_config_hides_the_rest(town: Town) -> None:
    """Without a configuration there is nobody to ask."""
    town.path.write_bytes(b"{")
    findings = town.examine(PROGRAM)
    assert isinstance(findings["config"].error, ConfigError)
    assert skipped(findings) == ORDER[1:]
    assert town.requests == []


def test_folder_that_is_a_file(town: Town) -> None:
    """A folder that cannot be written is the device's fault, and hides nothing else."""
    town.folder.write_text("")
    findings = town.examine(PROGRAM)
    assert faults(findings) == ["folder"]
    assert isinstance(findings["folder"].error, StorageError)


def test_folder_that_cannot_be_written(town: Town) -> None:
    """A folder in which nothing can be made is named, though there is nothing to read in it either."""
    town.folder = Path("/proc/self/graywave")
    fault = first_fault(town.examine(PROGRAM))
    assert (fault.check, type(fault.error)) == ("folder", StorageError)
    assert str(fault.error).startswith("/proc/self: expected a folder that can be written: ")


def install(town: Town) -> Path:
    container = Container(load_config(town.path), town.folder, Device("d-1", "android"), fetcher=town, now=lambda: NOW)
    assert [outcome.status for outcome in container.update([PROGRAM])] == ["activated"]
    active = container.active(PROGRAM)
    assert active is not None
    return active.folder


def test_installed_programs_are_looked_at(town: Town) -> None:
    """Without a program named, the installed ones are looked at, on disk and at the edge."""
    install(town)
    findings = town.examine()
    assert findings["folder"].seen.endswith(": 1 installed")
    assert findings["store"].seen.startswith(f"{EDGE}/v1/files/")


@pytest.mark.parametrize("damage", ["change", "remove", "add"])
def test_damaged_program_is_named(town: Town, damage: str) -> None:
    """Files of an active version that were changed, removed or added are seen."""
    place = install(town)
    if damage == "change":
        (place / "app.js").write_bytes(b"evil")
    elif damage == "remove":
        shutil.rmtree(place)
    else:
        (place / "more.js").write_bytes(b"evil")
    fault = first_fault(town.examine())
    assert (fault.check, type(fault.error)) == ("folder", StorageError)
    assert str(fault.error).startswith(f"{PROGRAM}: expected ")


def test_state_that_cannot_be_read(town: Town) -> None:
    """A broken state is the folder's fault; what else there is can still be looked at."""
    install(town)
    (active,) = town.folder.rglob("active.json")
    active.write_text("{")
    findings = town.examine(PROGRAM)
    assert faults(findings) == ["folder"]
    assert findings["store"].seen


@pytest.mark.parametrize(("off_s", "is_off"), [(0, False), (-300, False), (300, False), (-301, True), (301, True)])
def test_clock_beside_the_edges(town: Town, off_s: int, is_off: bool) -> None:
    """A clock that differs from an edge's by more than five minutes is named; offers are judged all the same."""
    town.date = NOW + off_s
    findings = town.examine(PROGRAM)
    assert faults(findings) == (["clock"] if is_off else [])


def test_clock_before_what_was_signed(town: Town) -> None:
    """A clock that is before the configuration's signature is off, also without a network."""
    town.configure(EDGE, issued=NOW + 301)
    town.faults[EDGE] = NetworkError("no route")
    fault = first_fault(town.examine(PROGRAM))
    assert (fault.check, type(fault.error)) == ("clock", ClockError)
    assert str(fault.error).startswith("expected a clock at 2026-11-06 21:25:01Z or later, ")


def test_clock_before_what_was_seen(town: Town) -> None:
    """A clock that is before an offer that was believed is off."""
    town.change = {"issued": NOW}
    install(town)
    town.time = NOW - 301
    assert faults(town.examine()) == ["clock"]


@pytest.mark.parametrize("date", ["", "yesterday", "Fri, 99 Nov 2026 99:99:99 GMT"])
def test_date_that_is_none(town: Town, date: str) -> None:
    """An edge that does not say its time proves nothing about the clock."""
    town.names = {"date": date}
    assert town.examine(PROGRAM)["clock"].seen == "2026-11-06 21:20:00Z, and no edge to compare with"


def test_silent_address_is_named(town: Town) -> None:
    """One address that does not answer is a fault; the others are still asked."""
    town.configure(EDGE, EDGE_2)
    town.faults[EDGE] = NetworkError("no route")
    findings = town.examine(PROGRAM)
    assert faults(findings) == ["addresses"]
    assert str(findings["addresses"].error) == "no route"
    assert findings["store"].seen.startswith(EDGE_2)


def test_nobody_answers(town: Town) -> None:
    """Where nobody answers, what hangs on an answer is passed over."""
    town.faults[EDGE] = NetworkError("no route")
    findings = town.examine(PROGRAM)
    assert faults(findings) == ["addresses"]
    assert skipped(findings) == ["workspace", "offers", "store", "range"]


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (404, b'{"error":{"code":"unknown_workspace","message":"no"}}', EdgeError),
        (503, b'{"error":{"code":"no_ruleset","message":"no"}}', OverloadedError),
        (200, b"<html>", EdgeError),
        (200, b"x" * (MAX_ANSWER_BYTES + 1), EdgeError),
        (302, b"", EdgeError),
    ],
    ids=["unknown workspace", "no rules", "a page", "endless", "elsewhere"],
)
def test_edge_that_does_not_serve(town: Town, status: int, body: bytes, kind: type[Exception]) -> None:
    """An edge that answers and does not serve the workspace is named by what it says."""
    town.faults[EDGE] = (status, body)
    fault = first_fault(town.examine(PROGRAM))
    assert type(fault.error) is kind
    assert fault.check == ("addresses" if len(body) > MAX_ANSWER_BYTES else "workspace")


def test_endless_answer_takes_no_longer(town: Town) -> None:
    """An edge that sends a byte now and then is given up after a minute."""

    def drip() -> Iterator[bytes]:
        while True:
            town.time += 1
            yield b" "

    town.stream = drip
    findings = town.examine(PROGRAM)
    assert "addresses" in faults(findings)
    assert town.time <= NOW + 100


def test_expired_root_is_named(town: Town) -> None:
    """A root that has expired and has no successor is a fault of the app's configuration."""
    town.roots = {1: make_root_document(expires=NOW)}
    town.configure(EDGE)
    fault = first_fault(town.examine(PROGRAM))
    assert (fault.check, type(fault.error)) == ("keys", ConfigError)
    assert "got root 1, which expired 2026-11-06 21:20:00Z, and no successor" in str(fault.error)


def test_successor_is_followed(town: Town) -> None:
    """An expired root is no fault where an edge has one that follows it."""
    town.roots = {1: make_root_document(expires=NOW)}
    town.configure(EDGE)
    town.roots[2], town.told_root = make_successor(), 2
    findings = town.examine(PROGRAM)
    assert faults(findings) == []
    assert findings["keys"].seen.startswith("root 2, after root 1, epoch 1, ")


def test_end_of_a_root_is_told_ahead(town: Town) -> None:
    """A root that ends within a month is no fault yet, and is told."""
    town.roots = {1: make_root_document(expires=NOW + 29 * DAY)}
    town.configure(EDGE)
    assert " expires SOON 2026-12-05 " in town.examine(PROGRAM)["keys"].seen


def test_followed_root_is_known(town: Town) -> None:
    """A root that the device has followed before counts, also while nobody answers."""
    town.roots[2], town.told_root = make_successor(), 2
    install(town)
    town.faults[EDGE] = NetworkError("no route")
    assert town.examine()["keys"].seen.startswith("root 2, epoch 1, ")


def test_clock_that_is_years_ahead(town: Town) -> None:
    """Roots and offers are judged by the time that an update believes: that of a broken clock is not it."""
    town.time = NOW + 3000 * DAY
    town.date = NOW
    assert faults(town.examine(PROGRAM)) == ["clock"]


def test_root_that_does_not_follow(town: Town) -> None:
    """A root that the known root's keys have not signed is not to be believed."""
    town.roots[2], town.told_root = make_successor(STRANGER, NEXT), 2
    fault = first_fault(town.examine(PROGRAM))
    assert (fault.check, type(fault.error)) == ("keys", VerificationError)


def test_root_that_is_told_and_not_there(town: Town) -> None:
    """An edge that tells of a root and does not have it is its operator's fault."""
    town.told_root = 2
    fault = first_fault(town.examine(PROGRAM))
    assert (fault.check, type(fault.error)) == ("keys", EdgeError)


def test_unknown_program_is_named(town: Town) -> None:
    """A program that the workspace does not have is named."""
    fault = first_fault(town.examine(UNKNOWN))
    assert fault.check == "offers"
    assert str(fault.error) == f"expected program {UNKNOWN} in workspace demo, got none of that id"


def test_programs_of_the_configuration(town: Town) -> None:
    """Without a program named or installed, those that the configuration names are looked at; else there is none."""
    findings = town.examine()
    assert skipped(findings) == ["offers", "store", "range"]
    assert findings["offers"].seen == "no program to ask about: name one"
    town.configure(EDGE, programs=(PROGRAM,))
    assert skipped(town.examine()) == []


@pytest.mark.parametrize(
    "change", [{"expires": NOW}, {"workspace": "other"}, {"version": "9"}, {"transfers": ()}, {"sha256": "0" * 64}]
)
def test_offer_that_is_not_believed(town: Town, change: dict[str, Any]) -> None:
    """An offer that an update would refuse is named, and nothing is fetched for it."""
    town.change = change if "transfers" not in change else {
        "transfers": (TransferClaim(format="zstd", size=1, sha256="0" * 64),)
    }  # fmt: skip
    findings = town.examine(PROGRAM)
    assert faults(findings) == ["offers"]
    assert isinstance(findings["offers"].error, VerificationError)
    assert skipped(findings) == ["store", "range"]
    assert not any("/v1/files/" in request for request in town.requests)


def test_edge_that_is_behind(town: Town) -> None:
    """An offer older than one that the device has seen is no attack, but a fault of the edge."""
    install(town)
    town.change = {"revision": 6}
    fault = first_fault(town.examine())
    assert (fault.check, type(fault.error)) == ("offers", EdgeError)
    assert "expected an offer not before (1, 7), got (1, 6): the edge is behind" in str(fault.error)


def test_offer_of_a_former_epoch(town: Town) -> None:
    """After a new epoch has begun, offers of the one before come from an edge that is behind."""
    roles = {name: [key.public] for name, key in KEYS.items()}
    town.roots[2] = make_root("demo", 2, NOW + 365 * DAY, roles, [KEYS["root"]], epoch=2)
    town.told_root = 2
    fault = first_fault(town.examine(PROGRAM))
    assert (fault.check, type(fault.error)) == ("offers", EdgeError)


def test_nothing_for_this_device(town: Town) -> None:
    """Where no release covers the device, that is no fault; there is no file to look at."""
    town.has_release = False
    findings = town.examine(PROGRAM)
    assert faults(findings) == []
    assert findings["offers"].seen == f"nothing of {PROGRAM} is offered to this device"
    assert skipped(findings) == ["offers", "store", "range"]


def test_file_that_is_not_there(town: Town) -> None:
    """A url that leads nowhere is named."""
    town.url = EDGE_2 + "/{sha256}"
    town.faults[EDGE_2] = (404, b"<html>")
    findings = town.examine(PROGRAM)
    assert faults(findings) == ["store", "range"]
    assert isinstance(findings["store"].error, EdgeError)


def test_file_that_is_another(town: Town) -> None:
    """Bytes that are not those of the offer are named, also where a range of them could be had."""
    town.file = town.file[:-1] + b"?"
    findings = town.examine(PROGRAM)
    assert faults(findings) == ["store"]
    assert isinstance(findings["store"].error, VerificationError)


def test_server_without_ranges(town: Town) -> None:
    """A server that sends all when asked for a byte is named: broken downloads would start anew."""
    town.has_ranges = False
    findings = town.examine(PROGRAM)
    assert faults(findings) == ["range"]
    assert "for the first byte, got (200, '')" in str(findings["range"].error)


@pytest.mark.parametrize("etag", ["", 'W/"weak"'])
def test_tag_that_is_weak(town: Town, etag: str) -> None:
    """A weak ETag, or none, does not say that the file is still the same."""
    town.etag = etag
    fault = first_fault(town.examine(PROGRAM))
    assert fault.check == "range"
    assert f"expected a strong ETag, got {etag!r}" in str(fault.error)


def test_tag_that_is_not_heeded(town: Town) -> None:
    """A server that forgets its own ETag at once is named."""
    town.forgets = True
    fault = first_fault(town.examine(PROGRAM))
    assert fault.check == "range"
    assert "for the first byte by its ETag, got (200, '')" in str(fault.error)
