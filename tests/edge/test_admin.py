"""Tests of edge/admin.py."""

import mmap
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from channel import NOWHERE, DocumentName, Neighbour, Position, Stand
from edge.admin import FRESH_S, LAG_S, Host, make_admin
from edge.audience import Opener, Table
from edge.cache import Cache, Refusal
from edge.guard import Guard
from edge.metrics import PAGE_BYTES, Counters
from edge.steward import WindowsState
from edge.syncer import WAITING, State
from edge.tally import Tally
from ruleset import parse_audience
from tests.edge.press import PROGRAM, ROOT, WORKSPACE, build_file, make_audience, make_row

BEAT = 1_000


@pytest.fixture
def counters() -> list[Counters]:
    """The counters of two workers that serve."""
    found = [Counters(), Counters()]
    for number, each in enumerate(found):
        each.pid, each.beat, each.ready, each.cursor, each.checks = 100 + number, BEAT, 1, 2, 7 + number
    return found


@pytest.fixture
def state(tmp_path: Path) -> State:
    """A workspace that has come to 1-5."""
    return State(Position(1, 5), ROOT, Table(WORKSPACE, Opener(tmp_path, {})), "current", head_expires=9_000)


@pytest.fixture
def host(counters: list[Counters], state: State, cache: Cache) -> Host:
    """A host where all is well: two workers, both at the last of two rows."""
    cache.write(WORKSPACE, [make_row()], [], Position(1, 5))
    pages = [mmap.mmap(-1, PAGE_BYTES) for _ in counters]
    for page, each in zip(pages, counters, strict=True):
        each.write(page)
    return Host(pages, {WORKSPACE: state}, cache, Tally())


@pytest.fixture
def tally(host: Host) -> Tally:
    """What devices have reported to this host."""
    return host._tally


def write(host: Host, worker: int, counters: Counters, **members: int) -> None:
    """Lets a worker copy its counters."""
    for name, value in members.items():
        setattr(counters, name, value)
    counters.write(host._pages[worker])


def test_host_is_ready(host: Host) -> None:
    """Where every worker serves and has every row, and every workspace has rules, a host is ready."""
    assert host.explain_unready(BEAT) == []


def test_host_without_rules_is_not_ready(host: Host, state: State) -> None:
    """A host that has nothing to answer from gets no devices."""
    state.position = NOWHERE
    assert host.explain_unready(BEAT) == ["workspace demo has no rules"]


def test_source_that_is_away_leaves_a_host_ready(host: Host, state: State) -> None:
    """A host that has rules answers from them, whatever its source is like."""
    state.problem, state.standing = "redis cannot be reached", "empty"
    assert host.explain_unready(BEAT) == []


def test_draining_host_is_not_ready(host: Host) -> None:
    """A host that is about to stop gets no devices."""
    host.is_draining = True
    assert host.explain_unready(BEAT) == ["draining"]


def test_worker_that_is_silent_or_unready(host: Host, counters: list[Counters]) -> None:
    """A worker that has not copied its counters for FRESH_S, or loads, or drains, does not serve."""
    write(host, 1, counters[1], beat=BEAT + 1)
    assert host.explain_unready(BEAT + FRESH_S) == []
    assert host.explain_unready(BEAT + FRESH_S + 1) == ["worker 0 does not serve"]
    write(host, 1, counters[1], ready=0)
    assert host.explain_unready(BEAT) == ["worker 1 does not serve"]


def test_worker_that_stays_behind(host: Host, counters: list[Counters], cache: Cache) -> None:
    """A worker may be behind for a moment, as changes arrive; one that stays behind does not follow."""
    cache.write(WORKSPACE, [make_row(revision=2)], [], None)
    write(host, 0, counters[0], cursor=3)
    assert host.explain_unready(BEAT) == []
    assert host.explain_unready(BEAT + LAG_S) == []
    assert host.explain_unready(BEAT + LAG_S + 0.1) == ["worker 1 is at row 2 of 3"]
    write(host, 1, counters[1], cursor=3)
    assert host.explain_unready(BEAT + LAG_S + 0.2) == []
    write(host, 1, counters[1], cursor=2)
    assert host.explain_unready(BEAT + LAG_S + 0.3) == []


def test_file_that_cannot_be_read(host: Host, cache: Cache) -> None:
    """Where edge.db cannot be read, the host is not ready and says why, instead of failing."""
    cache.close()
    (reason,) = host.explain_unready(BEAT)
    assert "edge-2.db cannot be used" in reason


def test_status_tells_all(host: Host, state: State) -> None:
    """The status has the processes, their counters, and how each workspace stands."""
    state.looked_at, state.problem = BEAT - 2.5, "redis cannot be reached"
    state.root_problem = "root 4 refused"
    forged = {"kind": "program", "id": PROGRAM, "position": "1-4", "reason": "forged"}
    waiting = {"kind": "audience", "id": "qa", "position": "1-5", "reason": f"{WAITING}status 404"}
    state.refused = [forged, waiting]
    state.table.put({"qa": parse_audience(orjson.dumps(make_audience(build_file("u-1"), patterns=["qa-*"])))})
    stand = Stand(False, 3, "3:run", "1.5", ("host-b",), {"host-b": Neighbour(1.0, True)}, {"00000000000000aa": 7})  # noqa: FBT003
    state.windows = WindowsState("host-a", stand, "waiting", BEAT - 1.5)
    status: Any = host.tell_status(BEAT)
    assert (status["ready"], status["unready"]) == (True, [])
    assert status["syncer"]["pid"] > 0
    assert [(worker["index"], worker["pid"], worker["checks"]) for worker in status["workers"]] == [
        (0, 100, 7),
        (1, 101, 8),
    ]
    assert status["workspaces"] == {
        WORKSPACE: {
            "epoch": 1,
            "revision": 5,
            "source": "current",
            "problem": "redis cannot be reached",
            "looked_s_ago": 2.5,
            "head_expires": 9_000,
            "root": {"number": 3, "epoch": 1, "expires": ROOT.expires, "problem": "root 4 refused"},
            "windows": {
                "host": "host-a",
                "admits": False,
                "problem": "waiting",
                "asked_s_ago": 1.5,
                "generation": 3,
                "waiting_for": ["host-b"],
                "hosts": ["host-b"],
                "members": {"00000000000000aa": 7},
            },
            "refused": [forged],
            "waiting": [waiting],
            "audiences": {
                "qa": {
                    "epoch": 1,
                    "revision": 1,
                    "users": 1,
                    "patterns": 1,
                    "removed": False,
                    "problem": "fingerprint key 'k1' is not in this edge's settings",
                }
            },
        }
    }


def test_status_says_whose_users_are_proven(host: Host, state: State) -> None:
    """Where users are taken at their word, the status says so."""
    host._states = {WORKSPACE: state, "shop": state}
    host._proven = {"shop": Path("keys.json")}
    status: Any = host.tell_status(BEAT)
    assert status["users"] == {
        WORKSPACE: "unproven: user ids are taken as devices say them, and trials give nothing",
        "shop": "proven: a user id counts where a token of the back end names it",
    }


def test_status_before_the_first_look(host: Host) -> None:
    """What was never looked at has no age."""
    status: Any = host.tell_status(BEAT)
    assert status["workspaces"][WORKSPACE]["looked_s_ago"] is None
    assert status["workspaces"][WORKSPACE]["windows"]["asked_s_ago"] is None
    assert status["workspaces"][WORKSPACE]["windows"]["members"] == {}


def test_metrics_have_types_and_labels(host: Host, state: State) -> None:
    """Every metric has its type, each worker and workspace its line, and what is no metric is left out."""
    state.refused = [Refusal(DocumentName("program", PROGRAM), Position(1, 4), "forged")._asdict()]
    state.refused.append(Refusal(DocumentName("audience", "qa"), Position(1, 4), f"{WAITING}why")._asdict())
    state.table.put({"qa": parse_audience(orjson.dumps(make_audience(build_file("u-1"))))})
    state.problem = "redis cannot be reached"
    lines = host.tell_metrics().splitlines()
    assert "# TYPE graywave_edge_checks_total counter" in lines
    assert 'graywave_edge_checks_total{worker="1"} 8' in lines
    assert "# TYPE graywave_edge_connections gauge" in lines
    assert 'graywave_edge_cursor{worker="0"} 2' in lines
    assert lines[lines.index("# TYPE graywave_edge_epoch gauge") :] == [
        "# TYPE graywave_edge_epoch gauge",
        'graywave_edge_epoch{workspace="demo"} 1',
        "# TYPE graywave_edge_revision gauge",
        'graywave_edge_revision{workspace="demo"} 5',
        "# TYPE graywave_edge_refused_documents gauge",
        'graywave_edge_refused_documents{workspace="demo"} 1',
        "# TYPE graywave_edge_waiting_documents gauge",
        'graywave_edge_waiting_documents{workspace="demo"} 1',
        "# TYPE graywave_edge_broken_audience_documents gauge",
        'graywave_edge_broken_audience_documents{workspace="demo"} 1',
        "# TYPE graywave_edge_source_problem gauge",
        'graywave_edge_source_problem{workspace="demo"} 1',
        "# TYPE graywave_edge_head_expires_timestamp_seconds gauge",
        'graywave_edge_head_expires_timestamp_seconds{workspace="demo"} 9000',
        "# TYPE graywave_edge_windows_closed gauge",
        'graywave_edge_windows_closed{workspace="demo"} 1',
        "# TYPE graywave_edge_windows_waiting_for_hosts gauge",
        'graywave_edge_windows_waiting_for_hosts{workspace="demo"} 0',
        "# TYPE graywave_edge_windows_put_back gauge",
        'graywave_edge_windows_put_back{workspace="demo"} 0',
        "# TYPE graywave_edge_root gauge",
        'graywave_edge_root{workspace="demo"} 3',
        "# TYPE graywave_edge_root_problem gauge",
        'graywave_edge_root_problem{workspace="demo"} 0',
        "# TYPE graywave_edge_root_expires_timestamp_seconds gauge",
        f'graywave_edge_root_expires_timestamp_seconds{{workspace="demo"}} {ROOT.expires}',
    ]
    assert not any("beat" in line or "pid" in line for line in lines)


async def test_listener_answers(
    host: Host,
    counters: list[Counters],
    aiohttp_client: Callable[..., Awaitable[TestClient[Any, Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The listener serves health, readiness with its status code, status and metrics, and nothing else."""
    monkeypatch.setattr("time.monotonic", lambda: BEAT)
    client = await aiohttp_client(make_admin(host, Guard()))
    assert await (await client.get("/healthz")).json() == {"ok": True}
    ready = await client.get("/readyz")
    assert (ready.status, await ready.json()) == (200, {"ready": True, "unready": []})
    write(host, 0, counters[0], ready=0)
    unready = await client.get("/readyz")
    assert (unready.status, await unready.json()) == (503, {"ready": False, "unready": ["worker 0 does not serve"]})
    assert (await (await client.get("/status")).json())["ready"] is False
    metrics = await client.get("/metrics")
    assert metrics.content_type == "text/plain"
    assert await metrics.text() == host.tell_metrics()
    assert (await client.get("/v1/check")).status == 404


async def test_versions(
    host: Host, tally: Tally, aiohttp_client: Callable[..., Awaitable[TestClient[Any, Any]]]
) -> None:
    """How many devices report to run which version is told for one program; another host's workspace is not found."""
    tally.take(orjson.dumps([[WORKSPACE, PROGRAM, "1.0.0.0", 1], [WORKSPACE, PROGRAM, "1.0.0.0", 2]]))
    client = await aiohttp_client(make_admin(host, Guard()))
    found = await client.get("/versions", params={"workspace": WORKSPACE, "program": PROGRAM})
    told = {"workspace": WORKSPACE, "program": PROGRAM, "devices": 2, "versions": {"1.0.0.0": 2}}
    assert (found.status, await found.json()) == (200, told)
    unknown = await client.get("/versions", params={"workspace": WORKSPACE, "program": "2021000000000009"})
    assert (unknown.status, (await unknown.json())["devices"]) == (200, 0)
    for params in ({}, {"workspace": "shop", "program": PROGRAM}):
        refused = await client.get("/versions", params=params)
        assert (refused.status, "workspace" in (await refused.json())["error"]) == (404, True)


async def test_protected_routes(host: Host, aiohttp_client: Callable[..., Awaitable[TestClient[Any, Any]]]) -> None:
    """Routes that are protected want the token, and all others none."""

    async def tell(_request: web.Request) -> web.Response:
        return web.json_response({"told": True})

    client = await aiohttp_client(make_admin(host, Guard("a-token"), [web.post("/v1/secret", tell)]))
    assert (await client.post("/v1/secret")).status == 401
    assert (await client.post("/v1/secret", headers={"Authorization": "Bearer a-token"})).status == 200
    assert (await client.get("/healthz")).status == 200
