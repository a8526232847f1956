"""Nobody is hostile here: clocks that are wrong, edges that are behind, a publisher that is away. Nothing is an attack.

Documents are signed by the real publisher's signer and answered by the real edge's code; only the wire between them is
not there, so that days go by in no time.
"""

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from channel import DOCUMENT_TYPE, Position, open_envelope
from container import NetworkError
from edge.answer import Workspace, compile_entry
from edge.question import parse_question
from publisher.settings import Settings
from publisher.signer import Signer
from ruleset.document import parse_program
from tests.attacks.harness import (
    DAY,
    NOW,
    PROGRAM,
    WORKSPACE,
    YEAR,
    Keyring,
    Package,
    Reply,
    Request,
    Town,
    Victim,
    refuse,
)
from trust import read_root

# How far an edge is behind the other one, in seconds.
LAG_S = 10
# How long the publisher is away.
AWAY_S = 10 * DAY
OFFER_DAYS: int = Settings.__dataclass_fields__["offer_days"].default


class Office:
    """A publisher, and edges that hear of what it publishes: the first at once, each other LAG_S later."""

    def __init__(self, town: Town, edges: int = 1) -> None:
        root = read_root(town.keys.documents[-1])
        keys = town.keys.keys
        self._town = town
        self._signer = Signer(root, keys["offer"], keys["channel"][0], OFFER_DAYS)
        self._trusted = root.keys("channel")
        self.edges = [Workspace(WORKSPACE, {root.number: town.keys.documents[-1]}) for _ in range(edges)]
        self._waiting: list[tuple[float, int, bytes, Position]] = []
        self._turns = itertools.cycle(range(edges))
        self._revision = 0
        self.renew_at = 0
        town.tamper = self.serve

    def publish(self, *packages: Package, rollback_from: Sequence[str] = (), taken_down: bool = False) -> None:
        """Publishes a document that gives the last of the packages."""
        self._revision += 1
        position = Position(1, self._revision)
        document = {
            "format": 1,
            "program": PROGRAM,
            "packages": {package.claim.version: describe(package) for package in packages},
            "releases": [release(self._revision, packages[-1], rollback_from)],
            "taken_down": taken_down,
        }
        program = parse_program(json.dumps(document).encode())
        self._signer.check_packages(program)
        signed = self._signer.sign(program, position, int(self._town.time))
        self.renew_at = signed.renew_at
        for edge in range(len(self.edges)):
            self._waiting.append((self._town.time + edge * LAG_S, edge, signed.envelope, position))

    def serve(self, request: Request, reply: Reply) -> Reply:
        """Answers a check as one of the edges, each in turn; everything else as an honest edge."""
        if request.path != "/v1/check":
            return reply
        self._spread()
        edge = self.edges[next(self._turns)]
        return Reply(200, edge.answer(parse_question(request.body), int(self._town.time)))

    def _spread(self) -> None:
        for due, edge, envelope, position in [one for one in self._waiting if one[0] <= self._town.time]:
            program = parse_program(open_envelope(envelope, self._trusted, DOCUMENT_TYPE))
            self.edges[edge].apply({PROGRAM: compile_entry(program)}, position)
            self._waiting.remove((due, edge, envelope, position))


def describe(package: Package) -> Mapping[str, Any]:
    """Returns a package as an author's document has it."""
    transfers = [{**parcel.tell(), "from_sha256": parcel.claim().from_sha256} for parcel in package.parcels]
    full = [{name: value for name, value in one.items() if value} for one in transfers]
    claim = package.claim
    return {"sha256": claim.sha256, "size": claim.size, "signature": package.signature, "transfers": full}


def release(number: int, package: Package, rollback_from: Sequence[str]) -> Mapping[str, Any]:
    """Returns a release to everybody."""
    back = {"rollback": {"from": list(rollback_from)}} if rollback_from else {}
    return {"id": f"r{number}", "package": package.claim.version, "state": "live", **back}


@pytest.fixture
def lasting(town: Town) -> Town:
    """A workspace whose root lasts for decades."""
    town.keys = Keyring(expires=NOW + 30 * YEAR)
    return town


def ask_each_second(victim: Victim, seconds: int) -> list[str]:
    """Updates each second, and opens what there is; returns what became of it, of whatever was something."""
    became = []
    for _ in range(seconds):
        victim.town.time += 1
        outcome = victim.update()
        if outcome:
            assert outcome.error is None
            became.append(outcome.status)
        if victim.version:
            victim.opens()
    return became


def test_two_edges_ten_seconds_apart(town: Town) -> None:
    """A device that two edges answer in turn, one behind the other, sees no attack: an older word is stale, no more.

    Through installs, a rollback, a take-down and a return it ends each time with what the publisher said last.
    """
    office, victim = Office(town, edges=2), Victim(town)
    one, two, three = (town.pack() for _ in range(3))
    story: list[tuple[str, dict[str, Any]]] = [
        ("1.0", {"packages": [one]}),
        ("1.1", {"packages": [one, two]}),
        ("1.0", {"packages": [two, one], "rollback_from": ["1.1"]}),
        ("1.2", {"packages": [one, three]}),
        ("", {"packages": [three], "taken_down": True}),
        ("1.2", {"packages": [three]}),
    ]
    became = []
    for version, words in story:
        office.publish(*words.pop("packages"), **words)
        became += ask_each_second(victim, 2 * LAG_S)
        assert victim.version == version
    assert became.count("activated") == 5
    assert became.count("removed") == 1
    assert set(became) <= {"activated", "removed", "stale"}
    assert "stale" in became, "the edge that is behind was heard"
    assert [event for event in town.events if event["outcome"] == "failed"] == []


@pytest.mark.parametrize("pace", [1, 3, 7])
def test_two_edges_while_much_is_published(town: Town, pace: int) -> None:
    """Published faster than the second edge follows, each word is heard in its order or not at all."""
    office, victim = Office(town, edges=2), Victim(town)
    for _ in range(12):
        office.publish(town.pack())
        ask_each_second(victim, pace)
    ask_each_second(victim, 2 * LAG_S)
    assert victim.version == "1.11"
    assert [event for event in town.events if event["outcome"] == "failed"] == []


SKEWS = {"ten years ahead": 10 * YEAR, "ten years behind": -10 * YEAR, "in 1970": -NOW + 1, "in 2200": 180 * YEAR}


@pytest.mark.parametrize("name", SKEWS)
def test_clock_that_is_wrong(lasting: Town, name: str) -> None:
    """A device whose clock is years off installs, updates, and goes on when the clock is set right, or wrong again."""
    office, victim = Office(lasting), Victim(lasting)
    for skew in (SKEWS[name], SKEWS[name], 0, SKEWS[name], max(-SKEWS[name] // 2, 1 - NOW), 0):
        lasting.skew = skew
        lasting.time += DAY
        package = lasting.pack()
        office.publish(package)
        assert ask_each_second(victim, 2) == ["activated"]
        assert victim.version == package.claim.version
    assert {event["outcome"] for event in lasting.events} <= {"activated", "confirmed", "downloaded"}


def test_clock_that_is_set_right_while_an_edge_wants_to_be_left_alone(lasting: Town) -> None:
    """A minute that an edge asks for is a minute, though the clock is set back by years within it."""
    office, victim = Office(lasting), Victim(lasting)
    office.publish(lasting.pack())
    lasting.skew = SKEWS["ten years ahead"]
    lasting.tamper = lambda _, __: refuse(503, "overloaded", retry_after="60")
    with pytest.raises(NetworkError):
        victim.update()
    lasting.skew = 0
    lasting.tamper = office.serve
    lasting.time += 61
    assert ask_each_second(victim, 1) == ["activated"]


@pytest.mark.parametrize("name", ["right", *SKEWS])
def test_publisher_away_for_ten_days(lasting: Town, name: str) -> None:
    """Offers last 30 days and are renewed at 15: away from the second before that, for ten days, installs go on."""
    office, victim, newcomer = Office(lasting), Victim(lasting), Victim(lasting, name="newcomer")
    office.publish(lasting.pack())
    assert ask_each_second(victim, 1) == ["activated"]
    package = lasting.pack()
    office.publish(package)
    assert office.renew_at - int(lasting.time) == OFFER_DAYS * DAY // 2 == 15 * DAY
    lasting.time = office.renew_at - 1 + AWAY_S
    lasting.skew = SKEWS.get(name, 0)
    for device in (victim, newcomer):
        assert ask_each_second(device, 1) == ["activated"]
        assert device.version == package.claim.version


def test_publisher_away_for_too_long(lasting: Town) -> None:
    """After thirty days nothing is offered: no device fails, what is installed works, and then all goes on."""
    office, victim, newcomer = Office(lasting), Victim(lasting), Victim(lasting, name="newcomer")
    office.publish(lasting.pack())
    assert ask_each_second(victim, 1) == ["activated"]
    lasting.time += OFFER_DAYS * DAY
    assert ask_each_second(victim, 2) + ask_each_second(newcomer, 2) == []
    assert victim.opens() == "1.0"
    office.publish(lasting.pack())
    assert ask_each_second(victim, 1) + ask_each_second(newcomer, 1) == ["activated"] * 2


def test_device_that_was_off_for_years(lasting: Town) -> None:
    """A device that comes back after three years, its clock right, gets what is new at once."""
    office, victim = Office(lasting), Victim(lasting)
    office.publish(lasting.pack())
    assert ask_each_second(victim, 1) == ["activated"]
    lasting.time += 3 * YEAR
    office.publish(lasting.pack())
    assert ask_each_second(victim, 1) == ["activated"]
    assert victim.opens() == "1.1"
