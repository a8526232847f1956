"""One update as a whole: whom it asks again, whom it believes by which root, what it reports, and what it leaves."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from container import (
    ConfigError,
    Container,
    EdgeError,
    FloorError,
    NetworkError,
    NotInstalledError,
    Outcome,
    VerificationError,
)
from container.preset import encode_preset
from container.wire import MAX_EVENTS, MAX_REPORTED, Update, decode_answer
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
    make_root_document,
    refuse,
)


def install(world: World, version: str = "1.0", revision: int = 1) -> Container:
    container = world.container()
    world.publish(world.pack(version), revision=revision)
    assert [outcome.status for outcome in container.update([PROGRAM])] == ["activated"]
    container.open(PROGRAM)
    container.confirm(PROGRAM)
    container.update()
    world.reports.clear()
    world.requests.clear()
    return container


def update(container: Container) -> Outcome:
    (outcome,) = container.update([PROGRAM])
    return outcome


def asked_roots(world: World) -> list[str]:
    return [url.rpartition("/v1/root/")[2] for _, url in world.requests if "/v1/root/" in url]


def test_new_root_is_followed_before_offers_are_judged(world: World) -> None:
    """An offer under a new key is believed once the root that names it has come, in the same update."""
    container = install(world)
    world.rotate("offer", "root")
    world.rotate("package")
    world.publish(world.pack("1.1"), revision=2)
    assert update(container).error is not None, "it is packed with the old package key"
    assert asked_roots(world) == ["2?workspace=demo", "3?workspace=demo"]
    world.requests.clear()
    update(container)
    assert asked_roots(world) == []


def test_offer_by_a_new_key_installs(world: World) -> None:
    """With the root that has followed, what the new key offers is installed; the next process knows the root, too."""
    container = install(world)
    world.rotate("offer")
    world.publish(world.pack("1.1"), revision=2)
    assert update(container).status == "activated"
    world.publish(world.pack("1.2"), revision=3)
    world.requests.clear()
    assert update(world.container()).status == "activated"
    assert asked_roots(world) == []


def test_revoked_key_offers_nothing(world: World) -> None:
    """What a key has offered that the new root has taken the role from is refused."""
    container = install(world)
    world.publish(world.pack("1.1"), revision=2)
    world.rotate("offer")
    outcome = update(container)
    assert isinstance(outcome.error, VerificationError)
    assert outcome.error.reason == "offer_refused"


def hide_roots(world: World, reply: Reply) -> None:
    original = world.answer
    world.answer = lambda method, path, body, headers=None: (
        reply if path.startswith("/v1/root/") else original(method, path, body, headers)
    )


@pytest.mark.parametrize("reply", [refuse(404, "not_found"), refuse(503, "overloaded"), Reply(200, b"x" * 70_000)])
def test_root_that_is_not_to_be_had(world: World, reply: Reply) -> None:
    """What the known root vouches for is done; what it does not is no attack, but the edge's fault."""
    container = install(world)
    world.publish(world.pack("1.1"), revision=2)
    world.roots.append(b"")
    hide_roots(world, reply)
    assert update(container).status == "activated"
    world.keys = {**KEYS, "offer": STRANGER}
    world.publish(world.pack("1.2"), revision=3)
    outcome = update(container)
    assert isinstance(outcome.error, EdgeError)
    assert {event["reason"] for event in world.events} == {"", "edge"}


def test_root_that_nobody_has_signed(world: World) -> None:
    """A forged root lends its keys to nobody, and is named as what is wrong."""
    container = install(world)
    evil = dict.fromkeys(KEYS, STRANGER)
    world.roots.append(make_root_document(2, evil, [STRANGER]))
    world.keys = evil
    world.publish(world.pack("1.1"), revision=2)
    outcome = update(container)
    assert isinstance(outcome.error, VerificationError)
    assert outcome.error.reason == "root_refused"


def test_expired_root_that_has_a_successor(world: World) -> None:
    """A device that comes back after its root's end follows the next one, and goes on."""
    world.config = make_config(expires=NOW + 10)
    world.roots = [make_root_document(expires=NOW + 10)]
    container = install(world)
    world.rotate("root", "offer")
    world.time = NOW + 20
    world.publish(world.pack("1.1"), revision=2)
    assert update(container).status == "activated"


def test_expired_root_whose_successor_is_hidden(world: World) -> None:
    """Where the next root is told of and not to be had, that is the error, and not the app's."""
    world.config = make_config(expires=NOW + 10)
    world.roots = [make_root_document(expires=NOW + 10)]
    container = install(world)
    world.rotate("root")
    hide_roots(world, refuse(404, "not_found"))
    world.time = NOW + 20
    with pytest.raises(EdgeError, match="404 'not_found'"):
        container.update()


def test_root_that_expired_before_what_is_offered_was_signed(world: World) -> None:
    """A clock that was set back does not bring a root back: what an offer says of the time counts for roots, too."""
    world.config = make_config(expires=NOW + 10)
    container = install(world)
    world.publish(world.pack("1.1"), revision=2, offered={"issued": NOW + 10, "expires": NOW + DAY})
    outcome = update(container)
    assert isinstance(outcome.error, ConfigError)
    assert "expected a root valid now" in str(outcome.error)


def test_new_epoch_ends_what_a_thief_has_signed(world: World) -> None:
    """The highest revision, a time of the far future, a floor: a root of the next epoch ends them all."""
    world.config = make_config(expires=NOW + 10_000 * DAY)
    world.roots = [make_root_document(expires=NOW + 10_000 * DAY)]
    container = install(world)
    far = {"issued": NOW + 9000 * DAY, "expires": NOW + 9001 * DAY, "floor": "65535"}
    world.publish(world.pack("1.1"), revision=2**53 - 1, offered=far)
    assert update(container).status == "activated"
    with pytest.raises(FloorError):
        container.open(PROGRAM)
    world.publish(world.pack("1.2"), revision=3)
    assert update(container).status == "stale"
    world.rotate("offer", epoch=2)
    world.publish(world.pack("1.2"), revision=1)
    assert update(container).status == "activated"
    assert container.open(PROGRAM).version == "1.2"
    container.confirm(PROGRAM)
    world.publish(world.pack("1.3"), revision=2)
    assert update(container).status == "activated"


def test_epoch_that_no_root_has_opened(world: World) -> None:
    """An offer of a later epoch is refused, and forgotten: the next of this one is not stale."""
    container = install(world)
    world.publish(world.pack("1.1"), offered={"epoch": 2})
    outcome = update(container)
    assert outcome.error is not None
    assert outcome.error.reason == "offer_refused"
    world.publish(world.pack("1.1"), revision=2)
    assert update(container).status == "activated"


@pytest.mark.parametrize("years", [10, -10, 100])
def test_clock_years_off_updates(world: World, years: int) -> None:
    """A device whose clock is years off installs what is offered now."""
    world.time = NOW + years * 365 * DAY
    world.config = make_config(issued=NOW - 100 * DAY)
    world.publish(world.pack("1.0"))
    container = world.container()
    assert update(container).status == "activated"
    world.publish(world.pack("1.1"), revision=2)
    assert update(container).status == "activated"


def test_stale_answer_is_asked_for_elsewhere(world: World) -> None:
    """Of two edges, one behind the other, the second is asked at once, and what it says is done."""
    world.config = make_config(EDGE, EDGE_2)
    container = install(world)
    old = list(world.updates)
    world.publish(world.pack("1.1"), revision=2)
    update(container)
    world.publish(world.pack("1.2"), revision=3)
    world.behind[EDGE] = old
    world.requests.clear()
    outcome = update(container)
    assert outcome.status == "activated"
    assert [url.split("/v1/")[0] for _, url in world.requests if "/check" in url] == [EDGE, EDGE_2]
    world.publish(world.pack("1.3"), revision=4)
    world.requests.clear()
    update(container)
    assert [url.split("/v1/")[0] for _, url in world.requests if "/check" in url] == [EDGE_2]


def test_stale_everywhere_is_stale(world: World) -> None:
    """Where all edges are behind, or the others cannot be asked, nothing is done and nothing fails."""
    world.config = make_config(EDGE, EDGE_2)
    container = install(world)
    old = list(world.updates)
    world.publish(world.pack("1.1"), revision=2)
    update(container)
    world.updates = old
    assert update(container).status == "stale"
    checks = [url for _, url in world.requests if "/check" in url]
    assert len(checks) <= 3
    world.faults[EDGE_2] = [NetworkError("down")]
    assert update(container).status == "stale"
    assert world.events[1:] == []


def test_only_edge_is_not_asked_again(world: World) -> None:
    """Where there is no other edge, a stale answer is the end of it."""
    container = install(world)
    old = list(world.updates)
    world.publish(world.pack("1.1"), revision=2)
    update(container)
    world.updates = old
    world.requests.clear()
    assert update(container).status == "stale"
    assert len([url for _, url in world.requests if "/check" in url]) == 1


def test_stale_programs_alone_are_asked_about_again(world: World) -> None:
    """What the first edge knew is not asked about twice."""
    world.config = make_config(EDGE, EDGE_2)
    container = install(world)
    old = list(world.updates)
    world.publish(world.pack("1.1"), revision=2)
    update(container)
    world.publish(world.pack("2.0", program=OTHER_PROGRAM))
    world.behind[EDGE] = [*old, world.updates[-1]]
    world.questions.clear()
    statuses = [outcome.status for outcome in container.update([PROGRAM, OTHER_PROGRAM])]
    assert statuses == ["stale", "activated"]
    assert [list(question["programs"]) for question in world.questions] == [[PROGRAM, OTHER_PROGRAM], [PROGRAM]]


@pytest.mark.parametrize("change", [{"offer": "e30.e30.e30"}, {"signature": "e30.e30.e30"}, {"transfers": []}])
def test_edge_that_lies_is_asked_last(world: World, change: dict[str, Any]) -> None:
    """After an answer that cannot be believed, the next update asks another edge."""
    world.config = make_config(EDGE, EDGE_2)
    container = install(world)
    world.publish(world.pack("1.1"), revision=2)
    world.behind[EDGE] = [{**world.updates[0], **change}]
    assert update(container).status == "failed"
    assert update(container).status == "activated"


def test_reports_wait_for_an_edge(world: World) -> None:
    """What could not be reported is, after the next update, with the same nonce; and then no more."""
    container = install(world)
    original = world.answer
    hidden: list[bytes] = []

    def hide(method: str, path: str, body: bytes | None, headers: Mapping[str, str] | None = None) -> Reply:
        if path != "/v1/report":
            return original(method, path, body, headers)
        hidden.append(body or b"")
        return refuse(500, "internal_error")

    world.answer = hide
    world.publish(world.pack("1.1"), revision=2)
    assert update(container).status == "activated"
    world.answer = original
    world.updates.clear()
    world.container().update()
    world.container().update()
    (event,) = world.events
    assert (event["outcome"], event["to"]) == ("activated", "1.1")
    assert json.loads(hidden[0])["events"] == [event]


def test_many_events_go_in_parts(world: World) -> None:
    """Events that have waited are reported some at a time: a report has a size."""
    container = install(world)
    original = world.answer
    world.answer = lambda method, path, body, headers=None: (
        refuse(500, "x") if path == "/v1/report" else original(method, path, body, headers)
    )
    world.publish(world.pack("1.1"), offer="forged")
    for _ in range(MAX_EVENTS + 5):
        container.update([PROGRAM])
        world.time += 100
    world.answer = original
    world.updates.clear()
    container.update()
    assert [len(report["events"]) for report in world.reports] == [MAX_REPORTED] * (MAX_EVENTS // MAX_REPORTED)
    assert len({event["nonce"] for event in world.events}) == MAX_EVENTS


def test_report_that_is_refused_is_given_up(world: World) -> None:
    """What an edge refuses for what it says is not sent again and again."""
    container = install(world)
    original = world.answer
    world.answer = lambda method, path, body, headers=None: (
        refuse(400, "bad_field") if path == "/v1/report" else original(method, path, body, headers)
    )
    world.publish(world.pack("1.1"), revision=2)
    assert update(container).status == "activated"
    world.answer = original
    container.update()
    assert world.events == []


def test_failures_are_events(world: World) -> None:
    """A host app that listens hears of a failure what an edge is told."""
    container = install(world)
    world.publish(world.pack("1.1"), offer="forged")
    update(container)
    assert world.heard.failures == [(PROGRAM, "offer_refused")]


def test_programs_of_the_configuration_are_kept(world: World) -> None:
    """A container that is started from its file alone installs what that names, and keeps it up to date."""
    world.config = make_config(programs=[OTHER_PROGRAM])
    world.publish(world.pack("1.0", program=OTHER_PROGRAM))
    container = world.container()
    assert [outcome.update.program for outcome in container.update()] == [OTHER_PROGRAM]
    world.publish(world.pack("1.0"))
    container.update([PROGRAM])
    assert list(container.check().updates) == []
    assert sorted(world.questions[-1]["programs"]) == [PROGRAM, OTHER_PROGRAM]


def test_poll_interval_is_the_last_one_heard(world: World) -> None:
    """In how many seconds to ask again: the configuration's word, until an edge has said otherwise."""
    container = world.container()
    assert container.poll_after == 1800
    container.update([PROGRAM])
    assert container.poll_after == 300


def test_each_workspace_has_its_own(world: World) -> None:
    """Another configuration in the same folder is another environment; the first is found again as it was left."""
    install(world)
    theirs = make_config(workspace="other")
    ours, world.config = world.config, theirs
    assert world.container().installed() == {}
    world.config = ours
    assert list(world.container().installed()) == [PROGRAM]


def make_preset(world: World, version: str, *, is_sealed: bool = False, **given: Any) -> Path:
    """Writes a preset with a version, as it was offered long ago."""
    packed = world.pack(version, is_sealed=is_sealed)
    told = world.publish(packed, offered={"issued": NOW - 200 * DAY, "expires": NOW - 170 * DAY}, **given)
    world.updates.clear()
    folder = world.folder / f"preset-{version}"
    folder.mkdir()
    answer = json.dumps({"revision": 1, "poll_after": 1, "updates": [told]}).encode()
    updates: tuple[Update, ...] = decode_answer(answer, [PROGRAM]).updates
    (folder / "preset.json").write_bytes(encode_preset("demo", updates))
    (folder / packed.transfer_sha256).write_bytes(packed.transfer.read_bytes())
    return folder


@pytest.mark.parametrize("is_sealed", [False, True], ids=["clear", "sealed"])
def test_preset_starts_offline(world: World, *, is_sealed: bool) -> None:
    """What the app ships opens without a network, though its offer has expired long ago; that is reported later."""
    preset = make_preset(world, "1.0", is_sealed=is_sealed)
    world.faults[EDGE] = [NetworkError("no route to host")]
    container = world.container(preset=preset)
    assert container.open(PROGRAM).version == "1.0"
    container.confirm(PROGRAM)
    assert world.requests == []
    world.faults.clear()
    world.publish(world.pack("1.1"), revision=2)
    container.update()
    told = [(event["outcome"], event["to"], event["transfer"]) for event in world.events]
    assert told == [("activated", "1.0", "preset"), ("confirmed", "1.0", ""), ("activated", "1.1", "zstd")]


def test_preset_replaces_what_is_older_alone(world: World) -> None:
    """A newer app's preset updates what is older, and leaves what is as new or newer."""
    install(world, "1.1")
    for version, active in [("1.0", "1.1"), ("1.2", "1.2")]:
        container = world.container(preset=make_preset(world, version))
        assert container.open(PROGRAM).version == active


def test_preset_does_not_undo_what_came_after(world: World) -> None:
    """What was taken down, or did not come up, does not come back with the app's next start."""
    preset = make_preset(world, "1.0")
    container = world.container(preset=preset)
    container.open(PROGRAM)
    world.take_down()
    container.update()
    assert world.container(preset=preset).installed() == {}


def test_preset_is_an_offer_that_was_seen(world: World) -> None:
    """What was offered before the preset was made is stale once that is installed."""
    container = world.container(preset=make_preset(world, "1.0", revision=5))
    container.installed()
    world.publish(world.pack("1.1"), revision=4)
    assert update(container).status == "stale"
    world.publish(world.pack("1.1"), revision=5)
    assert update(container).status == "activated"


def test_preset_that_does_not_come_up(world: World) -> None:
    """A shipped version goes back as any other, and stays away."""
    preset = make_preset(world, "1.0")
    world.container(preset=preset).open(PROGRAM)
    assert world.container(preset=preset).active(PROGRAM) is not None
    with pytest.raises(NotInstalledError):
        world.container(preset=preset).open(PROGRAM)
    assert world.container(preset=preset).installed() == {}


@pytest.mark.parametrize("name", ["offer", "signature", "bytes"])
def test_preset_is_believed_no_more_than_an_edge(world: World, name: str) -> None:
    """A preset that was tampered with installs nothing, and the host app hears why."""
    changes = {} if name == "bytes" else {name: "e30.e30.e30"}
    preset = make_preset(world, "1.0", **changes)
    if name == "bytes":
        (transfer,) = (path for path in preset.iterdir() if path.suffix != ".json")
        transfer.write_bytes(bytes(transfer.stat().st_size))
    container = world.container(preset=preset)
    assert container.installed() == {}
    reasons = {"offer": "offer_refused", "signature": "package_refused", "bytes": "transfer_refused"}
    assert world.heard.failures == [(PROGRAM, reasons[name])]
    container.installed()
    assert len(world.heard.failures) == 1


def test_preset_of_another_workspace(world: World) -> None:
    """Another environment's preset is none of this one's business."""
    preset = make_preset(world, "1.0")
    document = json.loads((preset / "preset.json").read_text())
    (preset / "preset.json").write_text(json.dumps({**document, "workspace": "other"}))
    assert world.container(preset=preset).installed() == {}
    assert world.heard.failures == []
    assert not world.device_folder.exists()


def test_no_preset_is_the_apps_fault(world: World) -> None:
    """A folder that is no preset is told at once."""
    with pytest.raises(ConfigError, match=r"preset\.json: expected a file that can be read"):
        world.container(preset=world.folder)
