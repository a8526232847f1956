"""OFREP without a socket: what is answered, and by whose leave. The wire's cases are in tests/wire/test_ofrep.py."""

import time
from collections.abc import Mapping

import orjson
import pytest

from channel import Position
from edge.answer import Workspace
from edge.budget import Purpose
from edge.errors import RefusedError
from edge.exchange import INTERACTIVE, Rules
from edge.metrics import Counters
from edge.ofrep import NONE_MATCH, answer_flags
from edge.ofrep import WORKSPACE as FIELD
from edge.quota import Quota
from edge.reception import Reception
from edge.sender import Sender
from edge.switch import compile_set
from ruleset import Device, parse_switches
from tests.edge.press import NOW, ROOT_BYTES, WORKSPACE, make_switches

GRAY = {"who": {"percent": {"parts": 1_000_000, "salt": "s", "by": "user"}}}


@pytest.fixture
def rules() -> Rules:
    """What a worker of one workspace with a switch answers from."""
    workspace = Workspace(WORKSPACE, {3: ROOT_BYTES})
    workspace.hang({"app": compile_set(parse_switches(orjson.dumps(make_switches(a=GRAY))))})
    workspace.apply({}, Position(1, 1))
    rules = Rules({WORKSPACE: workspace}, Counters())
    rules.now = NOW
    return rules


def send(**fields: bytes) -> Sender:
    """A sender with these fields."""
    names: Mapping[str, bytes] = {"workspace": FIELD, "none_match": NONE_MATCH, "interactive": INTERACTIVE}
    return Sender({names[name]: [value] for name, value in fields.items()}, "")


def test_one_and_all(rules: Rules) -> None:
    """The segment of the address names one switch; without it all are told, with their tag."""
    body = b'{"context":{"targetingKey":"u"}}'
    one, whole = answer_flags(rules, send(), b"a", body), answer_flags(rules, send(), b"", body)
    assert (one.status, one.etag) == (200, b"")
    assert orjson.loads(whole.body)["flags"] == [orjson.loads(one.body)]
    assert answer_flags(rules, send(none_match=whole.etag), b"", body).status == 304
    assert (rules.counters.flag_requests, rules.counters.flags_unchanged) == (3, 1)


class Refusing(Reception):
    """A reception that has enough to do."""

    def receive(self, workspace: str, device: Device, sender: Sender, now: int) -> tuple[Device, bool]:
        """Refuses whoever comes."""
        raise RefusedError("overloaded", f"{workspace}, {device.id}, {sender.peer}, {now}")


def test_no_time_for_proof(rules: Rules) -> None:
    """Who cannot be received now is told to come again, in the words of this wire."""
    rules.attend(Refusing({}))
    reply = answer_flags(rules, send(), b"a", b"{}")
    assert (reply.status, orjson.loads(reply.body)["errorCode"]) == (503, "GENERAL")
    assert rules.counters.refused == 1


def test_only_workspace_and_another(rules: Rules) -> None:
    """The only one is meant where none is named, and no other in its place."""
    assert answer_flags(rules, send(workspace=WORKSPACE.encode()), b"", b"").status == 200
    assert answer_flags(rules, send(workspace=b"shop"), b"", b"").status == 404


@pytest.mark.parametrize(("fields", "wait_s"), [({"interactive": b"1"}, 1), ({}, 5)])
def test_all_switches_are_shed(rules: Rules, fields: dict[str, bytes], wait_s: int) -> None:
    """Where there is no time for all switches who has them already, or wants one, is answered, and nobody else."""
    body = b'{"context":{"targetingKey":"u"}}'
    etag = answer_flags(rules, send(), b"", body).etag
    rules.budget.admits(Purpose.INTERACTIVE, time.monotonic())
    rules.budget.spend(1_000.0)
    shed = answer_flags(rules, send(**fields), b"", body)
    assert (shed.status, orjson.loads(shed.body)["errorCode"], shed.etag) == (503, "GENERAL", b"")
    assert shed.retry_after_s >= wait_s
    assert answer_flags(rules, send(none_match=etag), b"", body).status == 304
    assert answer_flags(rules, send(), b"a", body).status == 200
    assert rules.counters.shed_interactive + rules.counters.shed_background == 1


def test_flood_of_a_workspace(rules: Rules) -> None:
    """Questions for switches count as the workspace's requests do."""
    rules.attend(quota=Quota({WORKSPACE: 1}, {}))
    assert answer_flags(rules, send(), b"a", b"").status == 200
    flood = answer_flags(rules, send(), b"a", b"")
    assert (flood.status, orjson.loads(flood.body)["errorCode"], rules.counters.limited) == (429, "GENERAL", 1)
