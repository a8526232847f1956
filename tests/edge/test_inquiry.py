"""Asking a host about its decisions: one explained, many evaluated, and every wrong question told where it is wrong."""

import asyncio
import io
import mmap
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import orjson
import pytest
from aiohttp.test_utils import TestClient

from channel import DocumentName, Position
from edge import inquiry as module
from edge.admin import Host, make_admin
from edge.cache import Cache, Document
from edge.guard import Guard
from edge.inquiry import MAX_BODY_BYTES, SLICE, Inquiry
from edge.metrics import PAGE_BYTES
from edge.question import parse_question
from edge.sample import Reservoir, Sampler
from edge.tally import Tally
from ruleset import NOTHING_KNOWN, Circumstances, Place
from tests.edge.press import (
    NOW,
    OTHER_PROGRAM,
    PROGRAM,
    WORKSPACE,
    Json,
    make_document,
    make_package,
    make_question,
    seal_document,
)

TOKEN = "a-token-of-the-tests"
WINDOW_ID = "0" * 16
Ask = Callable[..., Awaitable[tuple[int, Json]]]


class List:
    """An audience of everybody whose id begins with q, and a window that is open."""

    def holds(self, user: str) -> bool:
        """Says whether it begins with q."""
        return user.startswith("q")

    def find(self, _identity: str) -> Place:
        """Says that it is open."""
        return Place.OPEN


def write(cache: Cache, *releases: Json, program: str = PROGRAM, revision: int = 1, trials: Sequence[str] = ()) -> None:
    """Publishes releases of versions 1.0.0.0 and 2.0.0.0."""
    versions = ("1.0.0.0", "2.0.0.0")
    document = make_document(
        revision=revision,
        program=program,
        packages={version: make_package() for version in versions},
        releases=[{"id": f"r{i}", "package": "1.0.0.0", **release} for i, release in enumerate(releases)],
        trials=list(trials),
        offers={"expires": NOW + 1, "install": dict.fromkeys(versions, "offer")},
    )
    name = DocumentName("program", program)
    cache.write(WORKSPACE, [Document(name, Position(1, revision), seal_document(document))], [], Position(1, revision))


@pytest.fixture
def inquiry(cache: Cache) -> Inquiry:
    """A host with the audience qa and one window, whose clock stands."""
    around = Circumstances({"qa": List()}, {WINDOW_ID: List()})
    return Inquiry(cache, lambda _name, _program: around, (WORKSPACE,), Reservoir(), clock=lambda: NOW + 0.9)


@pytest.fixture
async def ask(cache: Cache, inquiry: Inquiry, aiohttp_client: Callable[..., Awaitable[TestClient[Any, Any]]]) -> Ask:
    """Asks the admin listener, with the token; returns the status and the answer."""
    host = Host([mmap.mmap(-1, PAGE_BYTES)], {}, cache, Tally())
    client = await aiohttp_client(make_admin(host, Guard(TOKEN), inquiry.list_routes()))

    async def ask(path: str, body: Any = None, *, token: str = TOKEN, **members: Any) -> tuple[int, Json]:
        headers = {"Authorization": f"Bearer {token}"}
        sent: dict[str, Any] = (
            {"data": io.BytesIO(body) if isinstance(body, bytes) else body}
            if body is not None
            else {"json": {"workspace": WORKSPACE, **members}}
        )
        answer = await client.post(path, headers=headers, **sent)
        return answer.status, await answer.json()

    return ask


DEVICE = {"id": "d-1", "platform": "android"}


async def test_a_decision_is_explained(ask: Ask, cache: Cache) -> None:
    """The host's own document, with its position, and each release of it."""
    write(cache, {"who": {"users": ["u-1"]}, "package": "2.0.0.0"}, {}, revision=7)
    status, told = await ask("/v1/explain", program=PROGRAM, device=DEVICE)
    assert status == 200
    assert {name: told[name] for name in ("workspace", "epoch", "revision", "program", "release", "reason", "now")} == {
        "workspace": WORKSPACE, "epoch": 1, "revision": 7, "program": PROGRAM, "release": "r1", "reason": "install",
        "now": NOW,
    }  # fmt: skip
    assert (told["offers_expire"], told["proven"], told["installed"]) == (NOW + 1, False, None)
    assert [one["verdict"] for one in told["releases"]] == ["failed", "decided"]
    assert told["releases"][0]["failed"]["path"] == "$.releases[0].who"
    assert told["releases"][0]["who"] == [
        {"kind": "users", "path": "$.releases[0].who.users", "standing": "outside", "why": "the device says no user"}
    ]


async def test_time_and_version_are_asked_for(ask: Ask, cache: Cache) -> None:
    """As of another time, and from an installed version."""
    write(cache, {"opens_at": NOW + 10})
    _, before = await ask("/v1/explain", program=PROGRAM, device=DEVICE)
    _, after = await ask("/v1/explain", program=PROGRAM, device=DEVICE, at=NOW + 10, installed="1")
    assert (before["reason"], after["reason"], after["installed"]) == ("no_release", "current", "1.0.0.0")


async def test_another_document_is_explained(ask: Ask) -> None:
    """A document that is given is used, whatever the host has."""
    document = make_document("3.0", 4, program=OTHER_PROGRAM)
    status, told = await ask("/v1/explain", program=OTHER_PROGRAM, device=DEVICE, document=document)
    assert (status, told["revision"], told["release"], told["version"]) == (200, 4, "r1", "3.0.0.0")


async def test_lists_of_the_host_are_asked(ask: Ask, cache: Cache) -> None:
    """Audiences and windows are those that the host knows; a window is asked by nobody."""
    window = {"limit": 5, "closes_at": NOW + 9, "id": WINDOW_ID, "key": "k1"}
    write(cache, {"who": {"audiences": ["qa", "staff"], "window": window}})
    _, told = await ask("/v1/explain", program=PROGRAM, device=DEVICE | {"user": "u"})
    parts = [(part["kind"], part["standing"]) for part in told["releases"][0]["who"]]
    assert parts == [("audience", "outside"), ("audience", "unknown"), ("window", "ask")]
    assert told["reason"] == "ask"
    _, told = await ask("/v1/explain", program=PROGRAM, device=DEVICE | {"user": "q"})
    assert told["reason"] == "install"


@pytest.mark.parametrize(("proven", "reason"), [(None, "install"), (True, "install"), (False, "no_release")])
async def test_where_users_are_proven(
    ask: Ask,
    inquiry: Inquiry,
    cache: Cache,
    proven: bool | None,
    reason: str,
) -> None:
    """Where a workspace wants proof the user counts as proven, unless said otherwise: then not at all."""
    inquiry._proven = (WORKSPACE,)
    write(cache, {"who": {"users": ["u-1"]}})
    _, told = await ask("/v1/explain", program=PROGRAM, device=DEVICE | {"user": "u-1"}, proven=proven)
    assert (told["reason"], told["proven"]) == (reason, proven is not False)
    _, many = await ask("/v1/evaluate", programs={PROGRAM: ""}, users=["u-1"], device=DEVICE, proven=proven)
    assert many["results"][0]["user"] == "u-1"
    assert many["results"][0]["programs"][PROGRAM]["reason"] == reason


async def test_a_trial_is_explained(ask: Ask, cache: Cache) -> None:
    """What a trial gives to a proven user is told first, and nobody else has one."""
    write(cache, {}, trials=["2.0.0.0"])
    status, told = await ask("/v1/explain", program=PROGRAM, device=DEVICE, proven=True, trial="2.0")
    assert (status, told["release"], told["version"], told["reason"]) == (200, "trial", "2.0.0.0", "install")
    assert [(one["id"], one["verdict"]) for one in told["releases"]] == [("trial", "decided"), ("r0", "unreached")]
    status, told = await ask("/v1/explain", program=PROGRAM, device=DEVICE, proven=True, trial="1.0")
    assert (status, told["release"]) == (200, "r0")
    assert told["releases"][0]["failed"] == {
        "step": 2, "path": "$.trials", "attribute": "trial", "op": "in", "asked": ["2.0.0.0"], "said": "1.0.0.0",
        "seen": "1.0.0.0",
    }  # fmt: skip
    status, told = await ask("/v1/explain", program=PROGRAM, device=DEVICE, trial="2.0")
    assert (status, told["release"], len(told["releases"])) == (200, "r0", 1)
    status, told = await ask("/v1/explain", program=PROGRAM, device=DEVICE, proven=True, trial="two")
    assert (status, told["error"]["path"]) == (400, "$.trial")


async def test_many_users_are_evaluated(ask: Ask, cache: Cache) -> None:
    """Each user has the facts of the device, and gets release, reason and version of each program, in their order."""
    write(cache, {"who": {"audiences": ["qa"]}, "package": "2.0.0.0"}, {})
    write(cache, program=OTHER_PROGRAM, revision=2)
    users = [f"{'q' if n % 2 else 'u'}{n}" for n in range(2 * SLICE + 1)]
    programs = {PROGRAM: "1", OTHER_PROGRAM: ""}
    status, told = await ask("/v1/evaluate", programs=programs, users=users, device={"platform": "ios"}, at=NOW + 5)
    assert (status, told["at"], told["workspace"]) == (200, NOW + 5, WORKSPACE)
    assert [result["user"] for result in told["results"]] == users
    assert told["results"][1]["programs"] == {
        PROGRAM: {"release": "r0", "reason": "install", "version": "2.0.0.0"},
        OTHER_PROGRAM: {"release": None, "reason": "no_release"},
    }
    found = {result["programs"][PROGRAM]["release"] for result in told["results"][::2]}
    assert found == {"r1"}


async def test_many_devices_are_evaluated(ask: Ask, cache: Cache) -> None:
    """Devices are told by their ids."""
    write(cache, {"clients": {"ios": {}}})
    devices = [DEVICE, {"id": "d-2", "platform": "ios"}]
    _, told = await ask("/v1/evaluate", programs={PROGRAM: ""}, devices=devices)
    reasons = [(result["id"], result["programs"][PROGRAM]["reason"]) for result in told["results"]]
    assert reasons == [("d-1", "no_release"), ("d-2", "install")]


async def test_the_loop_gets_its_turn(ask: Ask, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between slices others run: health is answered while a thousand are evaluated."""
    write(cache, {})
    turns: list[int] = []
    sleep = asyncio.sleep

    async def count(delay: float) -> None:
        turns.append(1)
        await sleep(delay)

    monkeypatch.setattr(module.asyncio, "sleep", count)
    await ask("/v1/evaluate", programs={PROGRAM: ""}, users=["u"] * 1_000, device={"platform": "ios"})
    assert len(turns) >= 1_000 // SLICE


@pytest.mark.parametrize(
    ("path", "members", "status", "code", "place", "message"),
    [
        ("explain", {}, 400, "bad_field", "$", "object missing required field `program`"),
        (
            "explain", {"program": PROGRAM, "device": {"id": "d", "platform": "tv"}}, 400, "bad_field",
            "$.device.platform", "invalid enum value 'tv'",
        ),
        (
            "explain", {"program": PROGRAM, "device": DEVICE, "instaled": "1"}, 400, "bad_field", "$",
            "object contains unknown field `instaled`",
        ),
        (
            "explain", {"program": PROGRAM, "device": DEVICE, "installed": "x"}, 400, "bad_field", "$.installed",
            "expected a version of 1 to 4 numeric parts, got 'x'",
        ),
        (
            "explain", {"program": "2021000000000009", "device": DEVICE}, 404, "unknown_program", "$.program",
            "expected a program of 'demo', got '2021000000000009'",
        ),
        (
            "explain", {"program": PROGRAM, "device": DEVICE, "workspace": "shop"}, 404, "unknown_workspace",
            "$.workspace", "expected a workspace that is served here, got 'shop'",
        ),
        (
            "explain", {"program": PROGRAM, "device": DEVICE, "document": {"format": 2}}, 422, "bad_document",
            "$.document.format", "invalid enum value 2",
        ),
        (
            "explain", {"program": PROGRAM, "device": DEVICE, "document": make_document(program=OTHER_PROGRAM)}, 422,
            "bad_document", "$.document.program", f"expected a document of '{PROGRAM}', got one of '{OTHER_PROGRAM}'",
        ),
        ("evaluate", {"programs": {PROGRAM: ""}}, 400, "bad_field", "$", "expected either devices or users"),
        (
            "evaluate", {"programs": {PROGRAM: ""}, "users": ["u"], "devices": [DEVICE]}, 400, "bad_field", "$",
            "expected either devices or users",
        ),
        (
            "evaluate", {"programs": {PROGRAM: ""}, "users": ["u"]}, 400, "bad_field", "$.device",
            "object missing required field `platform`",
        ),
        (
            "evaluate", {"programs": {PROGRAM: ""}, "users": ["u"], "device": {"platform": 1}}, 400, "bad_field",
            "$.device.platform", "expected `str`, got `int`",
        ),
        (
            "evaluate", {"programs": {PROGRAM: ""}, "users": ["u"] * 1_001}, 400, "bad_field", "$.users",
            "expected `array` of length <= 1000",
        ),
        (
            "evaluate", {"programs": {PROGRAM: ""}, "users": [""]}, 400, "bad_field", "$.users[0]",
            "expected `str` of length >= 1",
        ),
        (
            "evaluate", {"programs": {str(n): "" for n in range(21)}, "users": ["u"]}, 400, "bad_field", "$.programs",
            "expected `object` of length <= 20",
        ),
        (
            "evaluate", {"programs": {PROGRAM: "1.x"}, "users": ["u"], "device": {"platform": "ios"}}, 400, "bad_field",
            f"$.programs['{PROGRAM}']", "expected a version of 1 to 4 numeric parts, got '1.x'",
        ),
    ],
)  # fmt: skip
async def test_wrong_questions(
    ask: Ask, cache: Cache, path: str, members: Json, status: int, code: str, place: str, message: str
) -> None:
    """Each is answered with a code, the path of the place, and what was expected there."""
    write(cache, {})
    got, told = await ask(f"/v1/{path}", **members)
    assert (got, told["error"]) == (status, {"code": code, "message": message, "path": place})


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "malformed_json"),
        (b'{"workspace": "\xff"}', 400, "malformed_json"),
        (b" " * (MAX_BODY_BYTES + 1), 413, "too_large"),
    ],
)
async def test_bodies_that_are_none(ask: Ask, body: bytes, status: int, code: str) -> None:
    """What is no JSON, or too much of it, is refused without a path."""
    got, told = await ask("/v1/explain", body)
    assert (got, told["error"]["code"], "path" in told["error"]) == (status, code, False)


async def test_a_body_that_trickles_in(inquiry: Inquiry, monkeypatch: pytest.MonkeyPatch, ask: Ask) -> None:
    """A body that does not come in time is refused."""
    del inquiry
    monkeypatch.setattr(module, "BODY_TIMEOUT_S", 0.0)

    async def trickle() -> Any:
        yield b"{"
        await asyncio.sleep(0.01)
        yield b"}"

    status, told = await ask("/v1/explain", trickle())
    assert (status, told["error"]["code"]) == (408, "too_slow")


async def test_samples_are_told(
    inquiry: Inquiry, cache: Cache, aiohttp_client: Callable[..., Awaitable[TestClient[Any, Any]]]
) -> None:
    """The sample of a workspace's questions is for who has the token."""
    sampler = Sampler()
    sampler.tick(NOW, 0)
    sampler.take(parse_question(orjson.dumps(make_question())), NOTHING_KNOWN, NOW, 1)
    inquiry._reservoir.take(b'{"drawn":[%b]}' % sampler._held[0], NOW)
    host = Host([mmap.mmap(-1, PAGE_BYTES)], {}, cache, Tally())
    client = await aiohttp_client(make_admin(host, Guard(TOKEN), inquiry.list_routes()))
    headers = {"Authorization": f"Bearer {TOKEN}"}
    found = await client.get("/v1/samples", params={"workspace": WORKSPACE}, headers=headers)
    told = await found.json()
    assert (found.status, [one["programs"] for one in told["samples"]]) == (200, [{PROGRAM: ""}])
    assert "d-1" not in await found.text()
    refused = await client.get("/v1/samples", headers=headers)
    assert (refused.status, (await refused.json())["error"]["code"]) == (404, "unknown_workspace")
    assert (await client.get("/v1/samples", params={"workspace": WORKSPACE})).status == 401


async def test_the_token_is_wanted(ask: Ask) -> None:
    """Whose decisions these are is not for everybody in the operators' network."""
    for path in ("/v1/explain", "/v1/evaluate"):
        assert (await ask(path, token="another-token-of-theirs"))[0] == 401


async def test_a_file_that_fails(ask: Ask, cache: Cache) -> None:
    """Where edge.db cannot be read, that is said."""
    cache.close()
    status, told = await ask("/v1/explain", program=PROGRAM, device=DEVICE)
    assert (status, told["error"]["code"]) == (503, "cache_failed")
