"""How a package gets to the disk: by a delta where there is one, whole where that fails, sealed or not, and resumed."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bundle import PackedPackage, make_seal_key
from container import Container, NetworkError, Outcome, OverloadedError
from container.courier import MAX_TRIES
from tests.container.world import (
    EDGE,
    EDGE_2,
    KEYS,
    OTHER_PROGRAM,
    PROGRAM,
    Parcel,
    Reply,
    World,
    make_config,
    refuse,
    whole,
)
from trust import sign_offer

NOISE = random.Random(1).randbytes(30_000)
OLD = {"app.js": b"App(1)", "data.bin": NOISE, "pages/a.js": b"Page()"}
NEW = {"app.js": b"App(2)", "data.bin": NOISE, "pages/b.js": b"Page()"}


def read(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def installed(world: World) -> tuple[Container, PackedPackage]:
    """Returns a container with 1.0, and that package."""
    container, packed = world.container(), world.pack("1.0", OLD)
    world.publish(packed)
    assert [outcome.status for outcome in container.update([PROGRAM])] == ["activated"]
    container.open(PROGRAM)
    container.confirm(PROGRAM)
    world.requests.clear()
    world.ranges.clear()
    return container, packed


def update(container: Container) -> Outcome:
    (outcome,) = container.update([PROGRAM])
    return outcome


def fetched(world: World) -> list[str]:
    return [url.rpartition("/")[2] for method, url in world.requests if method == "GET"]


def offer_delta(world: World, old: PackedPackage, *, is_sealed: bool = False) -> tuple[PackedPackage, Parcel]:
    """Publishes 1.1 with a delta from another package; returns the new package and the delta."""
    new = world.pack("1.1", NEW, is_sealed=is_sealed)
    delta = world.delta(old, new)
    world.publish(new, revision=2, parcels=[delta])
    return new, delta


@pytest.mark.parametrize("is_sealed", [False, True], ids=["clear", "sealed"])
def test_delta_is_preferred(world: World, *, is_sealed: bool) -> None:
    """With a delta from the active version, that alone is fetched, and the files are the new ones."""
    container, old = installed(world)
    _, delta = offer_delta(world, old, is_sealed=is_sealed)
    outcome = update(container)
    assert (outcome.status, outcome.transfer, outcome.bytes) == ("activated", "dcz", len(delta.content))
    assert fetched(world) == [delta.sha256]
    assert read(container.open(PROGRAM).folder) == NEW


def test_delta_from_another_version_is_passed_over(world: World) -> None:
    """A delta that does not start here is not fetched."""
    container, _ = installed(world)
    new, _ = offer_delta(world, world.pack("0.9"))
    assert update(container).transfer == "zstd"
    assert fetched(world) == [new.transfer_sha256]


def break_delta(name: str, world: World, container: Container, delta: Parcel) -> None:
    """Breaks a delta, in one of the ways there are."""
    content = delta.content
    match name:
        case "not there":
            del world.files[delta.sha256]
        case "other bytes":
            world.files[delta.sha256] = bytes(len(content))
        case "too short":
            world.files[delta.sha256] = content[:-1]
        case "damaged base":
            (container.open(PROGRAM).folder / "app.js").write_bytes(b"App(X)")
        case "file too many in the base":
            (container.open(PROGRAM).folder / "more.js").write_bytes(b"")
        case "file too few in the base":
            (container.open(PROGRAM).folder / "data.bin").unlink()
        case "no address":
            world.updates[0]["transfers"][0]["url"] = "ftp://x"
        case "overloaded":
            world.updates[0]["transfers"][0]["url"] = f"http://cdn.test/v1/files/{delta.sha256}"
            world.faults["http://cdn.test"] = [refuse(503, "overloaded")]
        case "nobody there":
            world.updates[0]["transfers"][0]["url"] = f"http://cdn.test/v1/files/{delta.sha256}"
            world.faults["http://cdn.test"] = [NetworkError("down")]


BROKEN = (
    "not there", "other bytes", "too short", "damaged base", "file too many in the base", "file too few in the base",
    "no address", "overloaded", "nobody there",
)  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_delta_that_fails_is_made_up_for(world: World, name: str) -> None:
    """Whatever is wrong with a delta, the whole package is fetched in the same update."""
    container, old = installed(world)
    new, delta = offer_delta(world, old)
    break_delta(name, world, container, delta)
    outcome = update(container)
    assert (outcome.status, outcome.transfer, outcome.error) == ("activated", "zstd", None)
    assert fetched(world)[-1] == new.transfer_sha256
    assert read(container.open(PROGRAM).folder) == NEW
    assert [event["outcome"] for event in world.events if event["outcome"] == "failed"] == []
    assert not (world.device_folder / "staging").exists()


def test_bytes_of_both_ways_count(world: World) -> None:
    """What a delta moved in vain is told with what the whole package did."""
    container, old = installed(world)
    new, delta = offer_delta(world, old)
    world.files[delta.sha256] = bytes(len(delta.content))
    assert update(container).bytes == len(delta.content) + new.transfer_size


def offer_bytes(world: World, new: PackedPackage, old: PackedPackage, content: bytes) -> None:
    """Publishes 1.1 with anything for a delta, properly offered."""
    parcel = Parcel(content, old)
    world.files[parcel.sha256] = content
    world.publish(new, revision=2, parcels=[parcel])


@pytest.mark.parametrize("name", ["from another tar", "to another tar", "no delta", "a frame", "cut"])
def test_delta_that_is_not_what_it_should_be(world: World, name: str) -> None:
    """A delta that is properly offered has to lead from what is here to what the packager signed; else it is whole."""
    container, old = installed(world)
    new, other = world.pack("1.1", NEW), world.pack("1.2", {"app.js": b"evil"})
    content = {
        "from another tar": lambda: world.delta(other, new).content,
        "to another tar": lambda: world.delta(old, other).content,
        "no delta": lambda: b"x" * 100,
        "a frame": new.transfer.read_bytes,
        "cut": lambda: world.delta(old, new).content[:-4],
    }[name]()
    offer_bytes(world, new, old, content)
    assert (update(container).transfer, read(container.open(PROGRAM).folder)) == ("zstd", NEW)


def test_failure_of_the_last_way_is_told(world: World) -> None:
    """Where the whole package fails too, that is the error."""
    container, old = installed(world)
    new, delta = offer_delta(world, old)
    world.files[delta.sha256] = b"x"
    world.files[new.transfer_sha256] = bytes(new.transfer_size)
    outcome = update(container)
    assert outcome.error is not None
    assert str(outcome.error).startswith(f"'/v1/files/{new.transfer_sha256}': expected the transfer with sha256")
    assert read(container.open(PROGRAM).folder) == OLD


def test_sealed_package_is_opened_by_its_key(world: World) -> None:
    """A sealed package is what was packed, and neither it nor its key stays beside it."""
    container = world.container()
    packed = world.pack("1.1", NEW, is_sealed=True)
    world.publish(packed)
    assert update(container).status == "activated"
    assert read(container.open(PROGRAM).folder) == NEW
    assert not any(
        packed.key.encode() in path.read_bytes() for path in world.device_folder.rglob("*") if path.is_file()
    )


@pytest.mark.parametrize("key", ["", "another", "AGE-SECRET-KEY-1XXXX", "x" * 74, "\x00"])
def test_wrong_key_opens_nothing(world: World, key: str) -> None:
    """With another key, or none, the package is refused; the key that was told shows nowhere."""
    container, _ = installed(world)
    packed = world.pack("1.1", NEW, is_sealed=True)
    told = make_seal_key() if key == "another" else key
    world.publish(packed, revision=2, key=told)
    outcome = update(container)
    assert outcome.error is not None
    assert outcome.error.reason == ("seal_refused" if key else "transfer_refused")
    assert list_staging(world) == [], "what was refused is not gone on with"
    assert read(container.open(PROGRAM).folder) == OLD
    shown = repr(outcome) + str(outcome.error) + str(world.events) + repr(outcome.error.__cause__)
    assert not told or told not in shown
    world.publish(packed, revision=3)
    assert update(container).status == "activated"


def test_key_of_a_package_that_is_not_sealed(world: World) -> None:
    """A key where none is needed opens nothing, and installs nothing."""
    container, _ = installed(world)
    world.publish(world.pack("1.1", NEW), revision=2, key=make_seal_key())
    outcome = update(container)
    assert outcome.error is not None
    assert outcome.error.reason == "seal_refused"


def cut(world: World, sha256: str, *sizes: int) -> None:
    """Lets connections break after so many bytes of a transfer, one after the other, and then no more."""
    left = list(sizes)

    def stream(body: bytes) -> Iterator[bytes]:
        if world.requests[-1][1].endswith(sha256) and left:
            yield body[: left.pop(0)]
            raise NetworkError("reset")
        yield body

    world.stream = stream


def test_broken_download_goes_on_within_an_update(world: World) -> None:
    """A connection that breaks is taken up where it was, at the same address where there is no other."""
    container = world.container()
    packed = world.pack("1.1", NEW)
    world.publish(packed)
    cut(world, packed.transfer_sha256, 100, 1000)
    outcome = update(container)
    assert (outcome.status, outcome.bytes) == ("activated", packed.transfer_size)
    assert world.ranges == ["", "bytes=100-", "bytes=1100-"]
    assert [done for _, done, _ in world.heard.moved] == [100, 1100, packed.transfer_size]


def test_broken_download_goes_on_in_the_next_update(world: World) -> None:
    """What has come is kept, over updates and processes, and only the rest is moved; then nothing is left."""
    packed = world.pack("1.1", NEW)
    world.publish(packed)
    cut(world, packed.transfer_sha256, *[1000] * MAX_TRIES)
    outcome = update(world.container())
    assert (outcome.status, outcome.bytes) == ("failed", 1000 * MAX_TRIES)
    assert len(fetched(world)) == MAX_TRIES
    assert outcome.error is not None
    assert outcome.error.reason == "network"
    outcome = update(world.container())
    assert (outcome.status, outcome.bytes) == ("activated", packed.transfer_size - 1000 * MAX_TRIES)
    assert not (world.device_folder / "staging").exists()


def test_pauses_grow(world: World) -> None:
    """Between attempts lie pauses that double, halved here by the dice."""
    packed = world.pack("1.1", NEW)
    world.publish(packed)
    cut(world, packed.transfer_sha256, *[10] * MAX_TRIES)
    update(world.container())
    assert world.slept == [1, 2, 4, 8]


def test_delta_goes_on_too(world: World) -> None:
    """A delta whose connection broke is taken up as anything else."""
    container, old = installed(world)
    _, delta = offer_delta(world, old)
    cut(world, delta.sha256, 20)
    assert update(container).transfer == "dcz"
    assert world.ranges == ["", "bytes=20-"]


def test_file_that_changed_meanwhile_begins_anew(world: World) -> None:
    """A server whose file has another tag gives all of it, and that counts."""
    packed = world.pack("1.1", NEW)
    world.publish(packed)
    cut(world, packed.transfer_sha256, *[1000] * MAX_TRIES)
    update(world.container())
    (world.device_folder / "staging" / f"{packed.transfer_sha256}.tag").write_text('"another"')
    outcome = update(world.container())
    assert (outcome.status, outcome.bytes) == ("activated", packed.transfer_size)


def test_damaged_part_costs_one_update_nothing_but_bytes(world: World) -> None:
    """A part that was changed on the disk is found out at the end, and the whole is fetched in the same update."""
    packed = world.pack("1.1", NEW)
    world.publish(packed)
    cut(world, packed.transfer_sha256, *[1000] * MAX_TRIES)
    update(world.container())
    part = world.device_folder / "staging" / f"{packed.transfer_sha256}.part"
    part.write_bytes(bytes(part.stat().st_size))
    world.ranges.clear()
    assert update(world.container()).status == "activated"
    assert world.ranges == [f"bytes={1000 * MAX_TRIES}-", ""]


def test_overloaded_store_keeps_what_is_there(world: World) -> None:
    """A store that cannot answer now is asked twice, and the part stays for later."""
    packed = world.pack("1.1", NEW)
    world.publish(packed)
    cut(world, packed.transfer_sha256, *[1000] * MAX_TRIES)
    update(world.container())
    world.requests.clear()
    original, world.answer = (
        world.answer,
        lambda method, path, body, headers=None: (
            refuse(503, "overloaded") if "/files/" in path else original(method, path, body, headers)
        ),
    )
    outcome = update(world.container())
    assert isinstance(outcome.error, OverloadedError)
    assert len(fetched(world)) == 2
    world.answer = original
    assert update(world.container()).bytes == packed.transfer_size - 1000 * MAX_TRIES


def leave_part(world: World) -> PackedPackage:
    """Publishes 1.1, of which a part comes and then no more; returns it."""
    packed = world.pack("1.1", NEW)
    world.publish(packed)
    cut(world, packed.transfer_sha256, *[1000] * MAX_TRIES)
    assert update(world.container()).status == "failed"
    assert list_staging(world) == [f"{packed.transfer_sha256}.part", f"{packed.transfer_sha256}.tag"]
    return packed


def list_staging(world: World) -> list[str]:
    return sorted(path.name for path in (world.device_folder / "staging").glob("*"))


def test_part_that_nobody_offers_goes(world: World) -> None:
    """What was begun goes once nothing is offered any more."""
    leave_part(world)
    world.updates.clear()
    world.container().update([PROGRAM])
    assert list_staging(world) == []


def test_part_of_another_package_goes(world: World) -> None:
    """What was begun goes once another package is offered."""
    leave_part(world)
    other = world.pack("1.2", OLD)
    world.publish(other, revision=2)
    cut(world, other.transfer_sha256, *[10] * MAX_TRIES)
    assert update(world.container()).status == "failed"
    assert list_staging(world) == [f"{other.transfer_sha256}.part", f"{other.transfer_sha256}.tag"]


def test_part_of_another_package_makes_room_first(world: World) -> None:
    """What was begun is gone before something else is begun."""
    packed = leave_part(world)
    other = world.pack("1.2", OLD)
    world.publish(other, revision=2)
    seen: list[list[str]] = []

    def stream(body: bytes) -> Iterator[bytes]:
        if world.requests[-1][1].endswith(other.transfer_sha256):
            seen.append(list_staging(world))
        yield body

    world.stream = stream
    assert update(world.container()).status == "activated"
    assert seen
    assert not any(packed.transfer_sha256 in name for names in seen for name in names)


def test_part_of_a_program_that_nobody_asks_about_stays(world: World) -> None:
    """Parts of other programs are left alone."""
    packed = leave_part(world)
    world.container().update([OTHER_PROGRAM])
    assert list_staging(world) == [f"{packed.transfer_sha256}.part", f"{packed.transfer_sha256}.tag"]


def test_slow_edge_is_left_for_another(world: World) -> None:
    """An edge that brings a byte now and then is left after a while, and the other one has the rest."""
    world.config = make_config(EDGE, EDGE_2)
    packed = world.pack("1.1", NEW)
    world.publish(packed)

    def stream(body: bytes) -> Iterator[bytes]:
        _, url = world.requests[-1]
        if url.endswith(packed.transfer_sha256) and url.startswith(EDGE):
            for at in range(len(body)):
                world.time += 5
                yield body[at : at + 1]
        yield body

    world.stream = stream
    started = world.time
    assert update(world.container()).status == "activated"
    assert [url.split("/v1/")[0] for method, url in world.requests if method == "GET"] == [EDGE, EDGE_2]
    assert world.ranges[1].startswith("bytes=")
    assert world.time - started < 120


def test_transfer_has_an_end(world: World) -> None:
    """A server that is just fast enough for ever is given up after an hour, the attempts together."""
    packed = world.pack("1.1", NEW)
    world.publish(packed)

    def stream(body: bytes) -> Iterator[bytes]:
        if not world.requests[-1][1].endswith(packed.transfer_sha256):
            yield body
            return
        world.time += 1000
        yield body[:2]
        raise NetworkError("reset")

    world.stream = stream
    assert update(world.container()).status == "failed"
    assert len(fetched(world)) == 4


def test_former_version_needs_no_network(world: World) -> None:
    """A rollback to what is still there and whole moves nothing."""
    container, old = installed(world)
    offer_delta(world, old)
    update(container)
    world.requests.clear()
    world.publish(old, "rollback", revision=3)
    assert (update(container).bytes, read(container.open(PROGRAM).folder)) == (0, OLD)
    assert fetched(world) == []


def test_damaged_active_version_is_mended(world: World) -> None:
    """An active version that was changed on disk, and is offered, is brought anew beside itself."""
    container, old = installed(world)
    folder = container.open(PROGRAM).folder
    (folder / "app.js").write_bytes(b"evil")
    world.publish(old, "rollback", revision=2, sha256=old.claim.sha256)
    world.answer = answer_always(world)
    assert update(container).status == "activated"
    mended = container.open(PROGRAM).folder
    assert (read(mended), mended != folder, folder.is_dir()) == (OLD, True, True)
    world.publish(world.pack("1.1", NEW), revision=3)
    update(container)
    assert not folder.exists()
    assert (container.open(PROGRAM).version, mended.is_dir()) == ("1.1", True)


def answer_always(world: World) -> Callable[..., Reply]:
    """An edge that tells of a package whatever version the device has."""
    original = world.answer

    def answer(method: str, path: str, body: bytes | None, headers: object = None) -> Reply:
        if path != "/v1/check":
            return original(method, path, body, headers)
        installed = f'"{PROGRAM}":""'.encode()
        return original(method, path, b'{"programs":{%b}}' % installed)

    return answer


def test_extra_transfer_is_tried_when_the_first_fails(world: World) -> None:
    """Of two whole transfers the second is a way, too."""
    container, _ = installed(world)
    new = world.pack("1.1", NEW)
    world.publish(new, revision=2)
    first, second = whole(new).tell(), whole(new).tell()
    world.updates[0]["transfers"] = [{**first, "url": "/v1/files/none"}, second]
    world.updates[0]["offer"] = sign_offer(world.offer(new, revision=2), KEYS["offer"])
    assert update(container).status == "activated"
