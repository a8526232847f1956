"""The container, end to end in a world of its own: what it activates, what it refuses, and what it never loses."""

import hashlib
import itertools
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from container import (
    ConfigError,
    Container,
    ContainerError,
    EdgeError,
    NetworkError,
    Outcome,
    OverloadedError,
    StorageError,
    VerificationError,
)
from container.storage import Storage
from tests.container.world import (
    DAY,
    EDGE,
    EDGE_2,
    KEYS,
    NOW,
    OTHER_PROGRAM,
    PROGRAM,
    STRANGER,
    Reply,
    World,
    make_config,
    refuse,
    resign,
)
from trust import TransferClaim, sign_offer


def version_of(container: Container, program: str = PROGRAM) -> str:
    active = container.active(program)
    return active.version if active else ""


def files_of(container: Container, program: str = PROGRAM) -> dict[str, bytes]:
    active = container.active(program)
    assert active is not None
    folder = active.folder
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def installed(world: World, version: str = "1.0") -> Container:
    """Returns a container that has a version."""
    container = world.container()
    world.publish(world.pack(version))
    assert [outcome.status for outcome in container.update([PROGRAM])] == ["activated"]
    world.reports.clear()
    return container


def failure(container: Container, kind: type[ContainerError]) -> Outcome:
    """Updates, and returns the one outcome, which has failed with an error of this kind and changed nothing."""
    before = container.active(PROGRAM)
    (outcome,) = container.update([PROGRAM])
    assert outcome.status == "failed"
    assert type(outcome.error) is kind
    assert container.active(PROGRAM) == before
    return outcome


def test_first_version_is_installed(world: World) -> None:
    """A program that is not installed is fetched, verified, unpacked and active, and so for another process."""
    container = world.container()
    assert container.active(PROGRAM) is None
    world.publish(world.pack("1.0", {"app.js": b"App()", "pages/\u9996.js": b"Page()"}))
    (outcome,) = container.update([PROGRAM])
    assert (outcome.status, outcome.before, outcome.update.version, outcome.error) == ("activated", "", "1.0", None)
    assert files_of(container) == {"app.js": b"App()", "pages/\u9996.js": b"Page()"}
    assert world.container().installed() == container.installed() == {PROGRAM: container.active(PROGRAM)}


def test_newer_version_replaces_it(world: World) -> None:
    """An update activates the newer version and keeps the files of the one before, but not of the one before that."""
    container = installed(world, "1.0")
    folders = []
    for version in ("1.1", "1.2"):
        folders.append(container.installed()[PROGRAM].folder)
        world.publish(world.pack(version))
        assert [outcome.before for outcome in container.update()] == [f"1.{int(version[-1]) - 1}"]
    assert version_of(container) == "1.2"
    assert [folder.exists() for folder in folders] == [False, True]


def test_question_tells_device_and_versions(world: World) -> None:
    """The check says what is installed, and of the device only what is known."""
    container = installed(world)
    container.check([PROGRAM, OTHER_PROGRAM])
    assert world.questions[-1] == {
        "workspace": "demo",
        "device": {"id": "d-1", "platform": "android", "user": "u-1", "tags": {"vip": "1"}},
        "programs": {PROGRAM: "1.0", OTHER_PROGRAM: ""},
    }


def test_nothing_installed_is_nothing_to_ask(world: World) -> None:
    """An update of nothing needs no network."""
    assert world.container().update() == []
    assert world.requests == []


def test_nothing_to_do_is_no_outcome(world: World) -> None:
    """A program that is up to date has no outcome, and nothing is reported."""
    assert installed(world).update() == []
    assert world.reports == []


def test_update_is_reported(world: World) -> None:
    """An activation is reported with its versions, release, transfer, bytes, time and a nonce."""
    container = installed(world)
    packed = world.pack("1.1")
    world.publish(packed, revision=2)
    container.update()
    (report,) = world.reports
    (event,) = report["events"]
    assert report["workspace"] == "demo"
    assert len(event.pop("nonce")) == 32
    assert event == {
        "program": PROGRAM, "from": "1.0", "to": "1.1", "release": "r2", "outcome": "activated", "reason": "",
        "transfer": "zstd", "bytes": packed.transfer_size, "ms": 0, "at": NOW,
    }  # fmt: skip


def test_failure_is_reported_with_its_reason(world: World) -> None:
    """A failed update is reported, with a reason of the closed list."""
    container = installed(world)
    world.publish(world.pack("1.1"), offer="forged")
    container.update()
    (event,) = world.reports[0]["events"]
    assert (event["outcome"], event["reason"], event["from"], event["to"]) == ("failed", "offer_refused", "1.0", "1.1")


def test_failed_report_fails_nothing(world: World) -> None:
    """An edge that takes no report does not undo an update."""
    world.publish(world.pack("1.0"))
    world.answer = lambda method, path, body, headers=None: (
        refuse(503, "overloaded") if path == "/v1/report" else World.answer(world, method, path, body, headers)
    )
    container = world.container()
    assert [outcome.status for outcome in container.update([PROGRAM])] == ["activated"]
    assert version_of(container) == "1.0"


def test_rollback_goes_down(world: World) -> None:
    """A signed rollback activates a lower version; its files, still there and whole, are not fetched again."""
    container = installed(world, "1.0")
    world.publish(world.pack("1.1"), revision=2)
    container.update()
    world.requests.clear()
    world.publish(world.pack("1.0"), "rollback", revision=3)
    (outcome,) = container.update()
    assert (outcome.status, outcome.bytes, version_of(container)) == ("activated", 0, "1.0")
    assert [method for method, _ in world.requests] == ["POST", "POST"]


def test_damaged_version_is_fetched_again(world: World) -> None:
    """Files of a former version that were changed on disk are not trusted."""
    container = installed(world, "1.0")
    former = container.installed()[PROGRAM].folder
    world.publish(world.pack("1.1"), revision=2)
    container.update()
    (former / "app.js").write_bytes(b"evil")
    world.publish(world.pack("1.0"), "rollback", revision=3)
    (outcome,) = container.update()
    assert outcome.bytes > 0
    assert files_of(container)["app.js"] == b"v1.0" * 100


def test_install_does_not_go_down(world: World) -> None:
    """An install offer for a lower or the same version is refused: only a rollback goes down."""
    container = installed(world, "1.1")
    for version in ("1.0", "1.1.0"):
        world.publish(world.pack(version), revision=2)
        outcome = failure(container, VerificationError)
        assert str(outcome.error) == f"{PROGRAM}: expected an install above 1.1, got {version}"


def test_taken_down_program_goes_away(world: World) -> None:
    """A signed remove takes the active version and its files away."""
    container = installed(world)
    folder = container.installed()[PROGRAM].folder
    world.take_down()
    assert [outcome.status for outcome in container.update()] == ["removed"]
    assert container.active(PROGRAM) is None
    assert container.installed() == {}
    assert not folder.exists()


def test_remove_needs_an_offer(world: World) -> None:
    """An edge alone cannot take a program away."""
    container = installed(world)
    world.take_down(key=STRANGER)
    outcome = failure(container, VerificationError)
    assert "expected the kid of a known key" in str(outcome.error)


def test_taken_down_program_does_not_come_back(world: World) -> None:
    """What was seen of a program outlives it: an offer from before the remove is stale."""
    container = installed(world)
    world.take_down(revision=9)
    container.update()
    world.publish(world.pack("1.0"), revision=8)
    assert [outcome.status for outcome in container.update([PROGRAM])] == ["stale"]
    assert container.active(PROGRAM) is None


def test_one_failure_stops_no_other(world: World) -> None:
    """Of two programs, the one that fails leaves the other to be updated."""
    world.publish(world.pack("1.0"), offer="forged")
    world.publish(world.pack("1.0", program=OTHER_PROGRAM))
    container = world.container()
    assert [outcome.status for outcome in container.update([PROGRAM, OTHER_PROGRAM])] == ["failed", "activated"]
    assert list(container.installed()) == [OTHER_PROGRAM]


def test_every_tampered_byte_of_a_transfer_is_seen(world: World) -> None:
    """A transfer with any one byte changed is refused, and the former version stays."""
    container = installed(world)
    packed = world.pack("1.1")
    world.publish(packed)
    content = world.files[packed.transfer_sha256]
    for at in range(0, len(content), 7):
        world.files[packed.transfer_sha256] = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
        outcome = failure(container, VerificationError)
        assert outcome.error is not None
        assert outcome.error.reason == "transfer_refused"
    assert "expected the transfer with sha256" in str(outcome.error)


@pytest.mark.parametrize(("cut", "message"), [(slice(0, -1), "bytes of the transfer, got "), (slice(0, 0), "got 0")])
def test_short_transfer_is_refused(world: World, cut: slice, message: str) -> None:
    """A transfer that ends early is refused."""
    container = installed(world)
    packed = world.pack("1.1")
    world.publish(packed)
    world.files[packed.transfer_sha256] = world.files[packed.transfer_sha256][cut]
    assert message in str(failure(container, VerificationError).error)


def test_endless_transfer_is_cut_off(world: World) -> None:
    """Data without an end is read no further than was offered."""
    container = installed(world)
    packed = world.pack("1.1")
    world.publish(packed)
    read: list[int] = []

    def count_forever() -> Iterator[bytes]:
        while True:
            read.append(1)
            yield b"x" * 100

    def endless(body: bytes) -> Iterator[bytes]:
        if body != world.files[packed.transfer_sha256]:
            return iter([body])
        return count_forever()

    world.stream = endless
    assert "bytes of the transfer, got more" in str(failure(container, VerificationError).error)
    assert len(read) <= packed.transfer_size // 100 + 1


def test_tampered_tar_is_refused(world: World) -> None:
    """A transfer that is what was offered and unpacks to another tar than the packager signed is refused."""
    container = installed(world)
    packed, other = world.pack("1.1"), world.pack("1.2")
    size = packed.claim.size
    assert size == other.claim.size
    offer = world.offer(other, sha256=packed.claim.sha256, version="1.1")
    transfers = [{"format": "zstd", "url": f"/v1/files/{other.transfer_sha256}", "size": other.transfer_size,
                  "sha256": other.transfer_sha256}]  # fmt: skip
    world.publish(packed, offer=sign_offer(offer, KEYS["offer"]), transfers=transfers)
    outcome = failure(container, VerificationError)
    assert outcome.error is not None
    assert outcome.error.reason == "transfer_refused"
    assert f"expected the package with sha256 {packed.claim.sha256}, got {other.claim.sha256}" in str(outcome.error)


@pytest.mark.parametrize("content", [b"not zstd", b"."])
def test_transfer_that_is_no_frame_is_refused(world: World, content: bytes) -> None:
    """Even a properly offered transfer has to be what its format says."""
    container = installed(world)
    packed = world.pack("1.1")
    sha256 = hashlib.sha256(content).hexdigest()
    world.files[sha256] = content
    transfer = {"format": "zstd", "url": f"/v1/files/{sha256}", "size": len(content), "sha256": sha256}
    claim = TransferClaim(format="zstd", size=len(content), sha256=sha256)
    offer = world.offer(packed, transfers=(claim,))
    world.publish(packed, offer=sign_offer(offer, KEYS["offer"]), transfers=[transfer])
    assert f"{PROGRAM}: transfer: expected a zstd frame" in str(failure(container, VerificationError).error)


@pytest.mark.parametrize(
    ("changes", "reason", "message"),
    [
        ({"workspace": "other"}, "offer_refused", "expected an offer of ('demo', "),
        ({"program": OTHER_PROGRAM}, "offer_refused", "expected an offer of ('demo', "),
        ({"version": "9.9"}, "offer_refused", "expected an offer of ('demo', "),
        ({"sha256": "0" * 64}, "offer_refused", "expected an offer of ('demo', "),
        ({"action": "rollback"}, "offer_refused", "expected an offer of ('demo', "),
        ({"expires": NOW}, "offer_expired", f"expected an offer valid now ({NOW}), got one that expired at {NOW}"),
    ],
)
def test_offer_of_something_else_is_refused(world: World, changes: dict[str, Any], reason: str, message: str) -> None:
    """An offer for another workspace, program, version, digest or action, or an expired one, installs nothing."""
    container = installed(world)
    packed = world.pack("1.1")
    world.publish(packed, offer=sign_offer(world.offer(packed, **changes), KEYS["offer"]))
    outcome = failure(container, VerificationError)
    assert outcome.error is not None
    assert outcome.error.reason == reason
    assert message in str(outcome.error)


@pytest.mark.parametrize("role", ["root", "package", "channel", "stranger"])
def test_offer_by_another_key_is_refused(world: World, role: str) -> None:
    """Only keys of the role offer make offers."""
    container = installed(world)
    packed = world.pack("1.1")
    world.publish(packed, offer=sign_offer(world.offer(packed), {**KEYS, "stranger": STRANGER}[role]))
    outcome = failure(container, VerificationError)
    assert str(outcome.error).startswith(f"{PROGRAM}: offer: expected the kid of a known key in the token's header, ")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"workspace": "other"}, "expected a package signature of ('demo', "),
        ({"program": OTHER_PROGRAM}, "expected a package signature of ('demo', "),
        ({"version": "9.9"}, "expected a package signature of ('demo', "),
        ({"sha256": "0" * 64}, "expected a package signature of ('demo', "),
        ({"size": 1}, "expected a package signature of ('demo', "),
        ({"key": KEYS["offer"]}, "package signature: expected the kid of a known key"),
    ],
)
def test_package_signature_of_something_else_is_refused(world: World, changes: dict[str, Any], message: str) -> None:
    """A publisher whose key is stolen can offer only what the packager has signed as just this."""
    container = installed(world)
    packed = world.pack("1.1")
    world.publish(packed, signature=resign(packed, **changes))
    outcome = failure(container, VerificationError)
    assert outcome.error is not None
    assert outcome.error.reason == "package_refused"
    assert message in str(outcome.error)


@pytest.mark.parametrize("member", ["format", "size", "sha256"])
def test_transfer_that_was_not_offered_is_refused(world: World, member: str) -> None:
    """A transfer is one of those in the offer, in a format that this version can unpack."""
    container = installed(world)
    packed = world.pack("1.1")
    world.publish(packed)
    world.updates[0]["transfers"][0][member] = {"format": "dcz", "size": 1, "sha256": "0" * 64}[member]
    outcome = failure(container, VerificationError)
    assert outcome.error is not None
    assert outcome.error.reason == "no_transfer"
    assert f"{PROGRAM}: expected an offered transfer, whole or from the active version, got [" in str(outcome.error)


def test_older_offer_is_stale_and_no_attack(world: World) -> None:
    """An edge that is behind is not believed, and not blamed: nothing is reported."""
    container = installed(world)
    world.publish(world.pack("1.1"), revision=5)
    container.update()
    world.reports.clear()
    world.publish(world.pack("1.2"), revision=4)
    assert [outcome.status for outcome in container.update()] == ["stale"]
    assert version_of(container) == "1.1"
    assert world.reports == []


def test_seen_offer_makes_older_ones_stale_though_it_failed(world: World) -> None:
    """What counts is what was seen and believed, not what could be fetched."""
    container = installed(world)
    packed = world.pack("1.2")
    world.publish(packed, revision=7)
    lost = world.files.pop(packed.transfer_sha256)
    failure(container, EdgeError)
    world.publish(world.pack("1.1"), revision=6)
    assert [outcome.status for outcome in container.update()] == ["stale"]
    world.files[packed.transfer_sha256] = lost
    world.publish(packed, revision=7)
    assert [outcome.status for outcome in container.update()] == ["activated"]


def test_clock_set_back_revives_nothing(world: World) -> None:
    """Time is the later of the clock and the newest signed time seen."""
    container = installed(world)
    packed = world.pack("1.1")
    new = world.offer(packed, revision=2, issued=NOW + 50 * DAY, expires=NOW + 80 * DAY)
    world.publish(packed, offer=sign_offer(new, KEYS["offer"]))
    assert [outcome.status for outcome in container.update()] == ["activated"]
    world.publish(world.pack("1.2"), revision=3)
    outcome = failure(container, VerificationError)
    assert f"expected an offer valid now ({NOW + 50 * DAY})" in str(outcome.error)


def test_expired_root_stops_updates_and_opens_programs(world: World) -> None:
    """With an expired root nothing is updated, and everything installed still opens."""
    world.config = make_config(expires=NOW + 10)
    container = installed(world)
    world.time = NOW + 10
    message = f"expected a root valid now \\({NOW + 10}\\), got one that expired at {NOW + 10}: ship another"
    with pytest.raises(ConfigError, match=message):
        container.update()
    assert version_of(container) == "1.0"


def test_package_for_wifi_waits_for_wifi(world: World) -> None:
    """On a network that is known and not Wi-Fi, such a package is deferred, not failed."""
    world.device = msgspec.convert({"id": "d-1", "platform": "ios", "network": "4g"}, type(world.device))
    world.publish(world.pack("1.0"), download="wifi")
    assert [outcome.status for outcome in world.container().update([PROGRAM])] == ["deferred"]
    world.device = msgspec.convert({"id": "d-1", "platform": "ios", "network": "wifi"}, type(world.device))
    assert [outcome.status for outcome in world.container().update([PROGRAM])] == ["activated"]


def test_progress_is_told(world: World) -> None:
    """Progress counts the bytes moved, up to the transfer's size."""
    packed = world.pack("1.0")
    world.publish(packed)
    world.stream = lambda body: (body[at : at + 50] for at in range(0, len(body), 50))
    world.container().update([PROGRAM])
    assert len(world.heard.moved) > 1
    assert world.heard.moved[0] == (PROGRAM, 50, packed.transfer_size)
    assert world.heard.moved[-1] == (PROGRAM, packed.transfer_size, packed.transfer_size)


def test_kill_before_activation_changes_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed with the package in its place and not yet active, the next start clears up and does it all again."""
    container = installed(world)
    world.publish(world.pack("1.1"))

    original = Storage.unpack

    def unpack_and_die(storage: Storage, *args: Any) -> None:
        original(storage, *args)
        raise KeyboardInterrupt

    monkeypatch.setattr(Storage, "unpack", unpack_and_die)
    with pytest.raises(KeyboardInterrupt):
        container.update()
    monkeypatch.undo()
    folders = list((world.device_folder / "programs" / PROGRAM).iterdir())
    assert len(folders) == 2
    assert (world.device_folder / "staging").exists()
    again = world.container()
    assert version_of(again) == "1.0"
    world.updates.clear()
    again.update()
    assert list((world.device_folder / "programs" / PROGRAM).iterdir()) == [again.installed()[PROGRAM].folder]
    assert not (world.device_folder / "staging").exists()
    world.publish(world.pack("1.1"))
    assert [outcome.status for outcome in again.update()] == ["activated"]


def test_kill_while_receiving_changes_nothing(world: World) -> None:
    """Killed in the middle of a transfer, the old version is active and the next update whole."""
    container = installed(world)
    packed = world.pack("1.1")
    world.publish(packed)

    def die(body: bytes) -> Iterator[bytes]:
        yield body[:10]
        if body == world.files[packed.transfer_sha256]:
            raise KeyboardInterrupt
        yield body[10:]

    world.stream = die
    with pytest.raises(KeyboardInterrupt):
        container.update()
    assert version_of(container) == "1.0"
    world.stream = lambda body: iter([body])
    assert [outcome.status for outcome in world.container().update()] == ["activated"]


def test_second_updater_is_sent_away(world: World) -> None:
    """Two processes do not update one folder at once; opening works all the while."""
    container = installed(world)
    with (
        Storage(world.device_folder).lock(),
        pytest.raises(StorageError, match="expected to be the only one to update, got another; try again when"),
    ):
        container.update()
    assert version_of(container) == "1.0"
    assert container.update() == []


def test_update_by_another_process_is_seen(world: World) -> None:
    """What another process activates is what this one opens next."""
    container = installed(world)
    assert version_of(container) == "1.0"
    world.publish(world.pack("1.1"))
    world.container().update()
    assert version_of(container) == "1.1"


def test_full_disk_is_the_owners_matter(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that cannot be written fails the update, by name, and nothing else."""
    container = installed(world)
    world.publish(world.pack("1.1"))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("container.package.extract", full)
    outcome = failure(container, StorageError)
    assert "expected a folder that can be written, make room or permit it: [Errno 28] No space left" in str(
        outcome.error
    )
    assert outcome.error is not None
    assert outcome.error.reason == "storage"


def test_opening_needs_no_network(world: World) -> None:
    """With every edge gone, what is installed opens, and an update says that the network is to blame."""
    container = installed(world)
    world.faults[EDGE] = [NetworkError("no route to host")]
    world.requests.clear()
    assert version_of(container) == "1.0"
    assert world.requests == []
    with pytest.raises(NetworkError, match="no route to host"):
        container.update()


def test_another_edge_is_asked_once(world: World) -> None:
    """A failed connection is tried again once, after a jittered pause, at another address."""
    world.config = make_config(EDGE, EDGE_2)
    world.faults[EDGE] = [NetworkError("down")]
    world.publish(world.pack("1.0"))
    assert [outcome.status for outcome in world.container().update([PROGRAM])] == ["activated"]
    assert world.slept == [1.0]
    hosts = [url.split("/v1/")[0] for _, url in world.requests]
    assert hosts == [EDGE, EDGE_2, EDGE_2, EDGE_2]


def test_transfer_is_tried_again_elsewhere(world: World) -> None:
    """A transfer that breaks off is asked for again at another edge, from its beginning."""
    world.config = make_config(EDGE, EDGE_2)
    packed = world.pack("1.0")
    world.publish(packed)
    breaks = iter([True])

    def stream(body: bytes) -> Iterator[bytes]:
        yield body[:20]
        if body == world.files[packed.transfer_sha256] and next(breaks, False):
            raise NetworkError("connection reset")
        yield body[20:]

    world.stream = stream
    container = world.container()
    assert [outcome.status for outcome in container.update([PROGRAM])] == ["activated"]
    assert files_of(container)["app.js"] == b"v1.0" * 100
    fetched = [url for method, url in world.requests if method == "GET"]
    assert fetched == [f"{edge}/v1/files/{packed.transfer_sha256}" for edge in (EDGE, EDGE_2)]


def test_package_may_lie_elsewhere(world: World) -> None:
    """A transfer at an absolute address is fetched there: only its digest matters."""
    packed = world.pack("1.0")
    world.publish(packed)
    world.updates[0]["transfers"][0]["url"] = f"https://cdn.test/v1/files/{packed.transfer_sha256}"
    assert [outcome.status for outcome in world.container().update([PROGRAM])] == ["activated"]
    assert ("GET", f"https://cdn.test/v1/files/{packed.transfer_sha256}") in world.requests


@pytest.mark.parametrize("url", ["file:///etc/passwd", "//cdn.test/x", "ftp://x/y", "", "v1/files/x"])
def test_address_of_another_kind_is_refused(world: World, url: str) -> None:
    """A transfer is at a path or an http(s) address."""
    container = installed(world)
    world.publish(world.pack("1.1"))
    world.updates[0]["transfers"][0]["url"] = url
    outcome = failure(container, EdgeError)
    assert str(outcome.error) == f"expected the url of a transfer to be a path or http(s), got {url!r}"


def test_refusal_is_not_repeated(world: World) -> None:
    """A 4xx is the edge's word: it is told as such, with its code, and not asked again."""
    world.faults[EDGE] = [refuse(404, "unknown_workspace")]
    with pytest.raises(EdgeError) as caught:
        world.container().check([PROGRAM])
    assert (caught.value.status, caught.value.code) == (404, "unknown_workspace")
    assert str(caught.value) == "the edge refuses the request, see its operator: 404 'unknown_workspace' 'no'"
    assert len(world.requests) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_overloaded_edges_are_typed(world: World, status: int) -> None:
    """Where both attempts meet an overloaded edge, the error says so and that later may help."""
    world.faults[EDGE] = [refuse(status, "overloaded")]
    with pytest.raises(OverloadedError, match=f"the edge cannot answer now, try again later: {status} 'overloaded'"):
        world.container().check([PROGRAM])
    assert len(world.requests) == 2


def test_retry_after_is_honoured(world: World) -> None:
    """The only edge is left alone for as long as it asks, before the one retry."""
    world.faults[EDGE] = [refuse(503, "overloaded", retry_after="5"), Reply(200, b'{"revision":1,"poll_after":1}')]
    assert world.container().check([PROGRAM]).poll_after == 1
    assert world.slept == [1.0, 4.0]


def test_long_retry_after_is_remembered(world: World) -> None:
    """An edge that asks for minutes is not waited for, nor asked by later calls, until they are over."""
    world.faults[EDGE] = [refuse(503, "no_ruleset", retry_after="120"), Reply(200, b'{"revision":1,"poll_after":1}')]
    container = world.container()
    for _ in range(2):
        with pytest.raises(NetworkError, match="every edge asks to be left alone, try again in 119 s"):
            container.check([PROGRAM])
    assert len(world.requests) == 1
    world.time = NOW + 120
    assert container.check([PROGRAM]).revision == 1


def test_edge_left_alone_is_passed_over(world: World) -> None:
    """While one edge wants to be left alone, the other is asked, at once."""
    world.config = make_config(EDGE, EDGE_2)
    world.faults[EDGE] = [refuse(429, "overloaded", retry_after="60")]
    container = world.container()
    for _ in range(3):
        container.check([PROGRAM])
    assert [url.split("/v1/")[0] for _, url in world.requests] == [EDGE, EDGE_2, EDGE_2, EDGE_2]
    assert len(world.slept) == 1


def test_slow_answer_is_given_up(world: World) -> None:
    """An edge that sends a byte now and then does not hold a device."""

    def slow(body: bytes) -> Iterator[bytes]:
        for at in range(len(body)):
            world.time += 5
            yield body[at : at + 1]

    world.stream = slow
    with pytest.raises(NetworkError, match="expected the whole answer by now, got a part; try again later"):
        world.container().check([PROGRAM])


def test_endless_answer_is_cut_off(world: World) -> None:
    """An answer without an end is read up to the limit."""
    blank = itertools.repeat(b" " * 65_536)
    world.stream = lambda _: itertools.islice(blank, 66)
    with pytest.raises(EdgeError, match="expected an answer of at most 4194304 bytes, got more"):
        world.container().check([PROGRAM])
    world.stream = lambda _: blank
    world.faults[EDGE] = [refuse(404, "x")]
    with pytest.raises(EdgeError, match="404 '' ''"):
        world.container().check([PROGRAM])


def test_too_many_programs_are_refused(world: World) -> None:
    """A check asks about 200 programs at most."""
    with pytest.raises(ConfigError, match="expected at most 200 programs in a check, got 201: ask for fewer"):
        world.container().check([f"{number:016}" for number in range(201)])


def test_any_answer_is_an_error_of_ours(world: World) -> None:
    """Answers with bytes changed at random are believed or refused by an error of this package, never worse."""
    world.publish(world.pack("1.0"))
    whole = world.answer("POST", "/v1/check", json.dumps({"programs": {PROGRAM: ""}}).encode()).body
    dice = random.Random(7)
    for _ in range(200):
        at = dice.randrange(len(whole))
        world.faults[EDGE] = [Reply(200, whole[:at] + bytes([dice.randrange(256)]) + whole[at + 1 :])]
        try:
            world.container().check([PROGRAM])
        except ContainerError:
            continue


def test_folder_is_made_late(world: World, tmp_path: Path) -> None:
    """A container that is only asked what is active writes nothing."""
    assert world.container("new").installed() == {}
    assert not (tmp_path / "new").exists()
