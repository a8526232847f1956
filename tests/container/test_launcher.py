"""What the host app says: versions that come up stay, others go back, and nothing of it waits for an update."""

import threading
from collections.abc import Iterator

import pytest

from container import Container, FloorError, NetworkError, NotInstalledError, StorageError, VerificationError
from container.storage import Storage
from tests.container.world import DAY, EDGE, NOW, OTHER_PROGRAM, PROGRAM, World


def install(world: World, version: str, *, confirms: bool = True, revision: int = 1, name: str = "device") -> Container:
    """Returns a container that has a version, which has come up or was never opened."""
    container = world.container(name)
    world.publish(world.pack(version), revision=revision)
    assert [outcome.status for outcome in container.update([PROGRAM])] == ["activated"]
    if confirms:
        assert container.open(PROGRAM).version == version
        container.confirm(PROGRAM)
    world.reports.clear()
    return container


def prepare(world: World, version: str = "1.1") -> Container:
    """Returns a container that has 1.0, and this one waits for the user."""
    container = install(world, "1.0")
    world.publish(world.pack(version), revision=2, urgency="prompt")
    assert [outcome.status for outcome in container.update()] == ["ready"]
    return container


def test_version_that_comes_up_stays(world: World) -> None:
    """Opened and confirmed, a version is opened again and again, and that is reported."""
    container = install(world, "1.0")
    assert [container.open(PROGRAM).version for _ in range(3)] == ["1.0"] * 3
    container.update()
    assert [(event["outcome"], event["from"], event["to"]) for event in world.events] == [("confirmed", "1.0", "1.0")]
    container.update()
    assert len(world.events) == 1


def test_version_that_does_not_come_up_goes_back(world: World) -> None:
    """Opened and not confirmed, the next open has the version before it, from then on; app and edge hear why."""
    install(world, "1.0")
    container = install(world, "1.1", confirms=False, revision=2)
    assert container.open(PROGRAM).version == "1.1"
    assert world.heard.failures == []
    assert container.open(PROGRAM).version == "1.0"
    assert world.heard.failures == [(PROGRAM, "not_confirmed")]
    assert [container.open(PROGRAM).version, container.installed()[PROGRAM].version] == ["1.0", "1.0"]
    container.update()
    (event,) = world.events
    assert (event["outcome"], event["from"], event["to"], event["release"]) == ("fell_back", "1.1", "1.0", "r2")
    assert event["reason"] == "not_confirmed"


def test_going_back_outlives_the_process(world: World) -> None:
    """A host app that died at the first run finds the version before it at the second, which is another process."""
    install(world, "1.0")
    install(world, "1.1", confirms=False, revision=2).open(PROGRAM)
    assert world.container().open(PROGRAM).version == "1.0"
    assert world.container().open(PROGRAM).version == "1.0"


def test_package_that_did_not_come_up_is_declined(world: World) -> None:
    """The same bytes are not installed again, whatever an edge offers; another package is."""
    install(world, "1.0")
    container = install(world, "1.1", confirms=False, revision=2)
    container.open(PROGRAM)
    container.open(PROGRAM)
    world.requests.clear()
    for revision in (2, 3):
        world.publish(world.pack("1.1"), revision=revision)
        assert [outcome.status for outcome in container.update()] == ["declined"]
    assert not any("/v1/files/" in url for _, url in world.requests)
    world.publish(world.pack("1.2"), revision=4)
    assert [outcome.status for outcome in container.update()] == ["activated"]
    assert container.open(PROGRAM).version == "1.2"


def test_first_version_that_does_not_come_up(world: World) -> None:
    """With nothing to go back to there is nothing to open, until an update brings another, which asks by itself."""
    container = install(world, "1.0", confirms=False)
    container.open(PROGRAM)
    with pytest.raises(NotInstalledError, match=f"{PROGRAM}: expected a version to open, got none: update first"):
        container.open(PROGRAM)
    assert container.active(PROGRAM) is None
    world.publish(world.pack("1.1"), revision=2)
    assert [outcome.status for outcome in container.update()] == ["activated"]
    assert container.open(PROGRAM).version == "1.1"


def test_program_that_was_never_there(world: World) -> None:
    """What is not installed is not opened, and there is nothing to confirm or to apply."""
    container = world.container()
    for call in (container.open, container.apply_now):
        with pytest.raises(NotInstalledError):
            call(PROGRAM)
    container.confirm(PROGRAM)
    assert not world.device_folder.exists()


def test_version_whose_files_are_gone(world: World) -> None:
    """A version whose folder somebody has removed is not opened, and is brought again."""
    container = install(world, "1.0")
    folder = container.open(PROGRAM).folder
    folder.rename(world.folder / "gone")
    with pytest.raises(NotInstalledError, match=f"{PROGRAM}: expected the files of 1.0, got none: update first"):
        container.open(PROGRAM)
    assert [outcome.status for outcome in container.update()] == ["activated"]
    assert container.open(PROGRAM).folder.is_dir()


def test_confirmation_is_for_what_was_opened(world: World) -> None:
    """A version that an update activates between open and confirm is not confirmed by that."""
    container = install(world, "1.0", confirms=False)
    container.open(PROGRAM)
    world.publish(world.pack("1.1"), revision=2)
    world.container().update()
    container.confirm(PROGRAM)
    assert container.open(PROGRAM).version == "1.1"
    with pytest.raises(NotInstalledError):
        container.open(PROGRAM)


def test_confirmation_during_an_update_counts(world: World) -> None:
    """A version that comes up while the next one is fetched is what that one goes back to."""
    container = install(world, "1.0", confirms=False)
    container.open(PROGRAM)
    packed = world.pack("1.1")
    world.publish(packed, revision=2)

    def stream(body: bytes) -> Iterator[bytes]:
        if body == world.files[packed.transfer_sha256]:
            container.confirm(PROGRAM)
        yield body

    world.stream = stream
    world.container().update()
    assert sorted(event["outcome"] for event in world.events) == ["activated", "confirmed"]
    assert [container.open(PROGRAM).version for _ in range(2)] == ["1.1", "1.0"]


def test_opening_waits_for_no_update(world: World) -> None:
    """While another process updates, programs are opened, confirmed, and gone back from."""
    install(world, "1.0")
    container = install(world, "1.1", confirms=False, revision=2)
    with Storage(world.device_folder).lock():
        assert container.open(PROGRAM).version == "1.1"
        assert container.open(PROGRAM).version == "1.0"
    assert container.open(PROGRAM).version == "1.0"


def test_opening_needs_no_disk(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a disk that is full programs open all the same, and the one that did not come up still goes back."""
    install(world, "1.0")
    container = install(world, "1.1", confirms=False, revision=2)
    container.open(PROGRAM)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("container.mark.Marks.add", full)
    assert container.open(PROGRAM).version == "1.0"


def test_confirmation_that_can_not_be_written_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host app hears that its word was not kept: the next open would go back."""
    container = install(world, "1.0", confirms=False)
    container.open(PROGRAM)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("container.mark.Marks.add", full)
    with pytest.raises(StorageError, match="No space left on device"):
        container.confirm(PROGRAM)


def test_floor_keeps_a_version_from_opening(world: World) -> None:
    """Below the floor of the newest offer nothing opens; what is installed stays, and an update mends it."""
    container = install(world, "1.0")
    packed = world.pack("1.2")
    lost = world.files.pop(packed.transfer_sha256)
    world.publish(packed, revision=2, offered={"floor": "1.1"})
    assert [outcome.status for outcome in container.update()] == ["failed"]
    with pytest.raises(FloorError, match=f"{PROGRAM}: expected version 1.1 or later, got 1.0: update first") as caught:
        container.open(PROGRAM)
    assert caught.value.reason == "floor"
    assert container.installed()[PROGRAM].version == "1.0"
    world.files[packed.transfer_sha256] = lost
    container.update()
    assert container.open(PROGRAM).version == "1.2"


def test_going_back_below_the_floor(world: World) -> None:
    """A version that goes back to one below the floor opens nothing."""
    install(world, "1.0")
    container = world.container()
    world.publish(world.pack("1.1"), revision=2, offered={"floor": "1.1"})
    container.update()
    assert container.open(PROGRAM).version == "1.1"
    for _ in range(2):
        with pytest.raises(FloorError):
            container.open(PROGRAM)


def test_ready_version_waits_for_the_user(world: World) -> None:
    """Urgency prompt: fetched, told of, and active only once the user wants it, who then has it at once."""
    container = prepare(world)
    assert world.heard.ready == [(PROGRAM, "1.1", "prompt")]
    assert container.open(PROGRAM).version == "1.0"
    assert container.apply_now(PROGRAM).version == "1.1"
    assert container.open(PROGRAM).version == "1.1"
    container.confirm(PROGRAM)
    container.update()
    told = [(event["outcome"], event["from"], event["to"]) for event in world.events]
    assert told[0] == ("confirmed", "1.0", "1.0")
    assert told[1:] == [("downloaded", "1.0", "1.1"), ("activated", "1.0", "1.1"), ("confirmed", "1.1", "1.1")]


def test_ready_version_is_fetched_once(world: World) -> None:
    """Until the user answers, each update tells the host app again, and moves nothing."""
    container = prepare(world)
    world.requests.clear()
    assert [outcome.status for outcome in container.update()] == ["ready"]
    assert len(world.heard.ready) == 2
    assert [event["outcome"] for event in world.events] == ["confirmed", "downloaded"]
    assert not any("/v1/files/" in url for _, url in world.requests)


def test_applied_while_another_process_updates(world: World) -> None:
    """The user's word needs no lock."""
    container = prepare(world)
    with Storage(world.device_folder).lock():
        assert container.apply_now(PROGRAM).version == "1.1"
        assert world.container().active(PROGRAM) == container.active(PROGRAM)


def test_applied_version_that_does_not_come_up(world: World) -> None:
    """A version that the user wanted goes back as any other."""
    container = prepare(world)
    container.apply_now(PROGRAM)
    assert [container.open(PROGRAM).version for _ in range(2)] == ["1.1", "1.0"]


def test_nothing_ready_is_nothing_to_apply(world: World) -> None:
    """Applied twice, or with nothing ready, what is active stays."""
    container = prepare(world)
    assert [container.apply_now(PROGRAM).version for _ in range(2)] == ["1.1", "1.1"]


def test_offer_that_has_expired_is_not_applied(world: World) -> None:
    """What has waited longer than its offer lasts has to be offered again."""
    container = prepare(world)
    world.time = NOW + 29 * DAY
    with pytest.raises(VerificationError, match=f"{PROGRAM}: expected an offer valid now") as caught:
        container.apply_now(PROGRAM)
    assert caught.value.reason == "offer_expired"
    assert container.open(PROGRAM).version == "1.0"


def test_release_that_ended_is_not_applied(world: World) -> None:
    """What an edge does not offer any more does not wait for the user any more, and its files go."""
    container = prepare(world)
    world.updates.clear()
    container.update()
    assert container.apply_now(PROGRAM).version == "1.0"
    assert len(list((world.device_folder / "programs" / PROGRAM).iterdir())) == 1


def test_first_version_waits_for_nobody(world: World) -> None:
    """Where nothing is installed there is nothing to keep instead, and nobody is asked."""
    world.publish(world.pack("1.0"), urgency="prompt")
    assert [outcome.status for outcome in world.container().update([PROGRAM])] == ["activated"]


def test_newer_version_takes_the_place_of_what_is_ready(world: World) -> None:
    """Told of another version, silently, the user is not asked about the one before it."""
    container = prepare(world)
    world.publish(world.pack("1.2"), revision=3)
    assert [outcome.status for outcome in container.update()] == ["activated"]
    assert container.apply_now(PROGRAM).version == "1.2"


def force(world: World) -> Container:
    """Returns a container that has 1.0, and could not fetch 1.1, which is to be had before it opens again."""
    container = install(world, "1.0")
    packed = world.pack("1.1")
    world.publish(packed, revision=2, urgency="force")
    lost = world.files.pop(packed.transfer_sha256)
    assert [outcome.status for outcome in container.update()] == ["failed"]
    world.files[packed.transfer_sha256] = lost
    return container


def test_forced_version_is_fetched_before_opening(world: World) -> None:
    """Urgency force: an open tries once more, and has the new version if that works; from then on it asks nobody."""
    container = force(world)
    assert container.open(PROGRAM).version == "1.1"
    world.requests.clear()
    container.confirm(PROGRAM)
    assert container.open(PROGRAM).version == "1.1"
    assert world.requests == []


def test_forced_version_that_is_not_to_be_had(world: World) -> None:
    """Without a network, the old version opens."""
    container = force(world)
    world.faults[EDGE] = [NetworkError("down")]
    assert container.open(PROGRAM).version == "1.0"


def test_forced_version_is_not_waited_for_long(world: World) -> None:
    """A network that hardly moves keeps a program closed for seconds, not for an hour."""
    container = force(world)

    def drip(body: bytes) -> Iterator[bytes]:
        for at in range(len(body)):
            world.time += 1
            yield body[at : at + 1]

    world.stream = drip
    started = world.time
    assert container.open(PROGRAM).version == "1.0"
    assert world.time - started < 30


def test_forced_version_waits_for_no_other_process(world: World) -> None:
    """Where another process updates already, what is there opens."""
    container = force(world)
    with Storage(world.device_folder).lock():
        assert container.open(PROGRAM).version == "1.0"


def test_force_ends_with_the_release(world: World) -> None:
    """What an edge does not offer any more is not tried for any more."""
    container = force(world)
    world.updates.clear()
    assert container.open(PROGRAM).version == "1.0"
    world.requests.clear()
    container.open(PROGRAM)
    assert world.requests == []


def test_forced_and_deferred(world: World) -> None:
    """A package for Wi-Fi stays one, by force or not: what is there opens."""
    container = install(world, "1.0")
    object.__setattr__(world.device, "network", "4g")
    world.publish(world.pack("1.1"), revision=2, urgency="force", download="wifi")
    assert [outcome.status for outcome in container.update()] == ["deferred"]
    assert container.open(PROGRAM).version == "1.0"


def test_folder_stays_until_two_versions_later(world: World) -> None:
    """Opened in threads, each with its own container, while updates run: always a version, its files there."""
    install(world, "1.0")
    seen: list[set[str]] = [set(), set()]
    news = threading.Condition()
    stop = threading.Event()

    def run(mine: set[str]) -> None:
        container = world.container()
        while not stop.is_set():
            active = container.active(PROGRAM)
            assert active
            assert (active.folder / "app.js").read_bytes() == f"v{active.version}".encode() * 100
            with news:
                mine.add(active.version)
                news.notify_all()

    threads = [threading.Thread(target=run, args=(mine,)) for mine in seen]
    for thread in threads:
        thread.start()
    updater = world.container()
    for minor in range(1, 6):
        world.publish(world.pack(f"1.{minor}"), revision=minor + 1)
        assert [outcome.status for outcome in updater.update([PROGRAM])] == ["activated"]
        with news:
            assert news.wait_for(lambda minor=minor: all(f"1.{minor}" in mine for mine in seen), 30)
    stop.set()
    for thread in threads:
        thread.join()


def test_programs_are_each_for_themselves(world: World) -> None:
    """One that goes back takes no other with it."""
    container = install(world, "1.0")
    world.publish(world.pack("3.0", program=OTHER_PROGRAM))
    container.update([OTHER_PROGRAM])
    container.open(OTHER_PROGRAM)
    with pytest.raises(NotInstalledError):
        container.open(OTHER_PROGRAM)
    assert container.open(PROGRAM).version == "1.0"
