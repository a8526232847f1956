"""The publisher's HTTP: what is answered to whom, and that a refused request changes nothing."""

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from custody import CustodyError
from publisher import SigningError, api, serve
from publisher.signer import Signer
from publisher.store import Store
from ruleset.document import MAX_DOCUMENT_BYTES
from tests.publisher.desk import NOW
from trust import PrivateKey

PROGRAM = "2021000000000001"
PATH = f"/v1/documents/program/{PROGRAM}"


async def test_document_is_created(author: Any, workshop: Any) -> None:
    """The first publication answers with its position and tag."""
    answer = await author.put(workshop.document())
    assert answer.status == 200
    assert answer.headers["ETag"] == '"1"'
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json == {
        "kind": "program",
        "id": PROGRAM,
        "epoch": 1,
        "revision": 1,
        "distributed": True,
        "unchanged": False,
        "warnings": [],
    }


async def test_document_is_read_back(author: Any, workshop: Any) -> None:
    """An author reads the author's form, complete, and nothing that is the publisher's."""
    document = workshop.document({"id": "r1", "package": "1.0.0.0", "who": {"percent": {"parts": 1}}})
    await author.put(document)
    answer = await author.get()
    assert (answer.status, answer.headers["ETag"]) == (200, '"1"')
    got = answer.json
    assert len(got["releases"][0]["who"]["percent"].pop("salt")) == 16
    assert got["program"] == PROGRAM
    assert got.keys() == document.keys()


async def test_what_was_read_can_be_put_back(author: Any, workshop: Any) -> None:
    """Putting back what was read changes nothing, and keeps its tag."""
    await author.put(workshop.document({"id": "r1", "package": "1.0.0.0", "who": {"percent": {"parts": 1}}}))
    read = await author.get()
    answer = await author.ask("PUT", PATH, read.body, If_Match=read.headers["ETag"])
    assert (answer.status, answer.headers["ETag"], answer.json["unchanged"]) == (200, '"1"', True)
    assert (await author.get()).body == read.body


async def test_unchanged_document_is_no_revision(author: Any, workshop: Any) -> None:
    """The same document once more, without its salts and in other words, makes no revision."""
    document = workshop.document({"id": "r1", "package": "1.0.0.0", "who": {"percent": {"parts": 1}}})
    await author.put(document)
    answer = await author.put({**document, "taken_down": False}, If_Match='"1"')
    assert (answer.status, answer.json["revision"], answer.json["unchanged"]) == (200, 1, True)
    assert (await author.put(workshop.document(), If_Match='"1"')).json["revision"] == 2


async def test_known_copy_is_not_sent_again(author: Any, workshop: Any) -> None:
    """A reader who has the current revision is told so."""
    await author.put(workshop.document())
    answer = await author.ask("GET", PATH, If_None_Match='"1"')
    assert (answer.status, answer.headers["ETag"], answer.body) == (304, '"1"', b"")
    assert (await author.ask("GET", PATH, If_None_Match='"2"')).status == 200


async def test_earlier_revisions_are_read_as_published(author: Any, workshop: Any, clock: Any) -> None:
    """By number or time, with what the publisher has added, and with the tag of that revision."""
    await author.put(workshop.document(poll_after=60))
    first = clock.now
    clock.now += 100
    await author.put(workshop.document(poll_after=90), If_Match='"1"')
    for place in ("revisions/1", f"revisions?at={first + 99}"):
        answer = await author.ask("GET", f"{PATH}/{place}")
        assert (answer.status, answer.headers["ETag"], answer.headers["Content-Type"]) == (
            200,
            '"1"',
            "application/json",
        )
        assert (answer.json["poll_after"], answer.json["revision"], answer.json["workspace"]) == (60, 1, "demo")
        assert answer.json["offers"]["install"]
    assert (await author.ask("GET", f"{PATH}/revisions?at={first + 100}")).json["revision"] == 2


@pytest.mark.parametrize(
    ("place", "status", "message"),
    [
        ("revisions/9", 404, f"expected a revision that is kept of program:{PROGRAM}, got 9"),
        ("revisions/+1", 400, "expected revision as a number of at most 18 digits, got '+1'"),
        ("revisions/" + "9" * 19, 400, f"expected revision as a number of at most 18 digits, got '{'9' * 19}'"),
        ("revisions?at=0", 404, f"expected a time since which revisions of program:{PROGRAM} are kept, got 0"),
        ("revisions?at=now", 400, "expected at as a number of at most 18 digits, got 'now'"),
        ("revisions?to=1", 400, "expected query at=<seconds since 1970>, got 'to=1'"),
        ("revisions/1?at=1", 400, "expected no query, got 'at=1'"),
    ],
)
async def test_revisions_that_are_not_there(author: Any, workshop: Any, place: str, status: int, message: str) -> None:
    """What is not kept is not found, and what is no number is refused."""
    await author.put(workshop.document())
    answer = await author.ask("GET", f"{PATH}/{place}")
    assert (answer.error[0], answer.error[2]) == (status, message)


async def test_documents_are_listed(author: Any, workshop: Any) -> None:
    """All documents are listed by name with their positions."""
    assert (await author.ask("GET", "/v1/documents")).json == {"documents": []}
    await author.put(workshop.document(program="2021000000000002"))
    await author.put(workshop.document())
    assert (await author.ask("GET", "/v1/documents")).json == {
        "documents": [
            {"kind": "program", "id": PROGRAM, "epoch": 1, "revision": 2},
            {"kind": "program", "id": "2021000000000002", "epoch": 1, "revision": 1},
        ]
    }


async def test_replacing_needs_the_revision(author: Any, workshop: Any) -> None:
    """An existing document is replaced only by who says which revision was seen."""
    await author.put(workshop.document())
    changed = workshop.document(poll_after=60)
    assert (await author.put(changed)).error == (
        428,
        "precondition_required",
        'expected If-Match with the revision to replace ("1")',
    )
    assert (await author.put(changed, If_None_Match="*")).error[:2] == (412, "conflict")
    assert (await author.put(changed, If_Match='"2"')).error == (
        412,
        "conflict",
        'expected the document at "2", found it at "1"',
    )
    assert (await author.get()).headers["ETag"] == '"1"'
    assert (await author.put(changed, If_Match='"1"')).status == 200
    assert (await author.put(workshop.document(), If_Match="*")).headers["ETag"] == '"3"'


async def test_creating_can_be_insisted_on(author: Any, workshop: Any) -> None:
    """A document that has to be new, or to exist, is refused otherwise."""
    assert (await author.put(workshop.document(), If_Match="*")).error[:2] == (412, "conflict")
    assert (await author.put(workshop.document(), If_None_Match="*")).status == 200


def when(**members: Any) -> Any:
    """Returns a release with one condition."""
    return {"when": [{"attribute": "os", "op": "in", "values": ["14"], **members}]}


def window(**members: Any) -> Any:
    """Returns a release with a window."""
    return {"who": {"window": {"limit": 10, "closes_at": NOW + 1, **members}}}


@pytest.mark.parametrize(
    ("release", "path", "message"),
    [
        (when(attribute="modle"), ".when[0].attribute", "expected one of model, manufacturer, network, city"),
        (when(op="like"), ".when[0].op", "invalid enum value 'like'"),
        (when(op="prefix"), ".when[0].op", "expected one of in, not_in, between, outside for os, got prefix"),
        (when(op="between", values=["14", "12"]), ".when[0].values", "expected a range that is not empty, got 14"),
        (when(op="between", values=["14"]), ".when[0].values", "expected two versions, both ends included, got 1"),
        (when(values=["14.x"]), ".when[0].values[0]", "expected a version of 1 to 4 numeric parts, got '14.x'"),
        ({"clients": {"ios": {"min": "2", "max": "1"}}}, ".clients.ios", "expected a range that is not empty, got 2"),
        (
            {"who": {"audiences": ["nobody"]}},
            ".who.audiences[0]",
            "expected an audience that is published, got 'nobody'",
        ),
        ({"who": {}}, ".who", "expected users, audiences, percent or window, got none of them"),
        (window(limit=0), ".who.window.limit", "expected `int` >= 1"),
        (window(), ".who.window", "expected fingerprint_keys in the publisher's settings"),
        ({"who": {"percent": {"parts": 1_000_001}}}, ".who.percent.parts", "expected `int` <= 1000000"),
        ({"opens_at": 2, "closes_at": 1}, ".closes_at", "expected a time after opens_at 2, got 1"),
        ({"rollback": {"from": ["1.0"]}}, ".rollback.from[0]", "expected a version above the release's own 1.0.0.0"),
        ({"package": "9"}, ".package", "expected a version under $.packages, got '9'"),
    ],
)
async def test_rules_that_are_refused(author: Any, workshop: Any, release: Any, path: str, message: str) -> None:
    """Whatever cannot be meant is refused with the place and what is expected there, and nothing is published."""
    answer = await author.put(workshop.document({"id": "r1", "package": "1.0.0.0", **release}))
    assert answer.status == 422
    error = answer.json["error"]
    assert (error["code"], error["path"]) == ("bad_document", f"$.releases[0]{path}")
    assert error["message"].startswith(message)
    assert (await author.get()).status == 404


@pytest.mark.parametrize(
    ("release", "message"),
    [
        (window(closes_at=NOW), f"expected a time that is to come, got {NOW} (now {NOW})"),
        (window(opens_at=NOW + 1), f"expected a time after opens_at {NOW + 1}, got {NOW + 1}"),
    ],
)
async def test_windows_that_admit_nobody(
    meet: Any, workshop: Any, redis_server: Any, clock: Any, release: Any, message: str
) -> None:
    """A window that has closed, or closes before it opens, is refused with its place."""
    key = workshop.folder / "k1"
    key.write_text("5e" * 32)
    key.chmod(0o600)
    async with serve(workshop.settings(redis_server.url, fingerprint_keys={"k1": key}), clock) as running:
        answer = await meet(running).put(workshop.document({"id": "r1", "package": "1.0.0.0", **release}))
    assert answer.error[:2] == (422, "bad_document")
    assert answer.json["error"]["path"] == "$.releases[0].who.window.closes_at"
    assert answer.error[2] == message


async def test_what_is_hardly_meant_is_warned_of(author: Any, workshop: Any) -> None:
    """A release that has closed, or that another one hides, can be published, with a warning at its place."""
    everybody = {"id": "all", "package": "1.0.0.0"}
    closed, hidden = ({**everybody, "id": name} for name in ("closed", "hidden"))
    answer = await author.put(workshop.document(closed | {"closes_at": NOW}, everybody, hidden))
    assert answer.status == 200
    assert [warning["path"] for warning in answer.json["warnings"]] == ["$.releases[0].closes_at", "$.releases[2]"]


async def test_one_of_two_authors_wins(author: Any, workshop: Any) -> None:
    """Of many who replace one revision at once, exactly one does."""
    await author.put(workshop.document())
    puts = [author.put(workshop.document(poll_after=i), If_Match='"1"') for i in range(1, 9)]
    statuses = [answer.status for answer in await asyncio.gather(*puts)]
    assert sorted(statuses) == [200] + [412] * 7


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer wrong-token-of-tests", "Basic eA==", "bearer\xff"])
@pytest.mark.parametrize("path", [PATH, "/v1/documents", "/v1/nothing"])
async def test_stranger_is_refused(author: Any, authorization: str, path: str) -> None:
    """Without the token nothing is answered, not even what there is."""
    answer = await author.ask("GET", path, Authorization=authorization)
    assert answer.error == (401, "unauthorized", "expected the publisher's token as Authorization: Bearer")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_publishers_token_is_compared_in_constant_time(author: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison is hmac's, which takes as long for a wrong first letter as for a wrong last one."""
    compared: list[bytes] = []

    def compare(given: bytes, expected: bytes) -> bool:
        compared.append(given)
        return given == expected

    monkeypatch.setattr(hmac, "compare_digest", compare)
    assert (await author.ask("GET", "/v1/documents", Authorization="Bearer guess")).status == 401
    assert compared == [b"Bearer guess"]


async def test_stranger_publishes_nothing(author: Any, workshop: Any) -> None:
    """Without the token nothing is published."""
    assert (await author.put(workshop.document(), Authorization="")).status == 401
    assert (await author.get()).status == 404


async def test_health_needs_no_token(author: Any, workshop: Any) -> None:
    """Whoever watches over processes learns that this one is well, and how far Redis is behind."""
    await author.put(workshop.document())
    answer = await author.ask("GET", "/healthz", Authorization="")
    assert (answer.status, answer.json) == (200, {"status": "ok", "distributed": True, "pending": 0})


async def test_forged_package_is_not_published(author: Any, workshop: Any) -> None:
    """A package that its packager has not signed is refused with its place, and nothing is published."""
    document = workshop.document()
    document["packages"]["1.0.0.0"]["sha256"] = "6f" * 32
    answer = await author.put(document)
    assert answer.status == 422
    assert answer.json["error"] == {
        "code": "bad_document",
        "message": f"expected sha256 {'5e' * 32!r} as the packager signed it, got {'6f' * 32!r}",
        "path": "$.packages['1.0.0.0'].sha256",
    }
    workshop.keys["package"] = PrivateKey.generate()
    answer = await author.put(workshop.document())
    assert (answer.status, answer.json["error"]["path"]) == (422, "$.packages['1.0.0.0'].signature")
    assert (await author.get()).status == 404


@pytest.mark.parametrize(
    ("body", "path"),
    [(b"", "$"), (b"{", "$"), (b"\xff", "$"), (b"[]", "$"), (b'{"format":2}', "$.format"), (b"[" * 100_000, "$")],
)
async def test_bad_document_is_refused_with_its_place(author: Any, body: bytes, path: str) -> None:
    """Whatever is sent as a document, the author learns what is wrong where."""
    answer = await author.ask("PUT", PATH, body)
    assert (answer.status, answer.json["error"]["code"], answer.json["error"]["path"]) == (422, "bad_document", path)


async def test_dry_run_changes_nothing(author: Any, workshop: Any, client: Any) -> None:
    """A dry run answers what would be published, doubts included, and publishes nothing."""
    hidden = {"id": "old", "package": "1.0.0.0", "who": {"percent": {"parts": 1, "salt": "s"}}}
    document = workshop.document({"id": "new", "package": "1.0.0.0"}, hidden)
    before = await client.hgetall("gw:{demo}:head")
    answer = await author.put(document, "?dry_run=1")
    assert answer.status == 200
    assert "ETag" not in answer.headers
    got = answer.json
    assert got.pop("document")["releases"][1]["id"] == "old"
    assert got == {
        "kind": "program",
        "id": PROGRAM,
        "epoch": 1,
        "revision": 1,
        "dry_run": True,
        "unchanged": False,
        "warnings": [
            {"path": "$.releases[1]", "message": "it reaches nobody: release 'new' above it takes every device"}
        ],
    }
    assert (await author.get()).status == 404
    assert await client.hgetall("gw:{demo}:head") == before
    real = await author.put(document)
    assert (real.json["revision"], real.json["warnings"]) == (1, answer.json["warnings"])


async def test_dry_run_judges_as_the_real_one(author: Any, workshop: Any) -> None:
    """What would be refused, or change nothing, is so in a dry run."""
    await author.put(workshop.document())
    assert (await author.put(workshop.document(), "?dry_run=1")).status == 428
    assert (await author.put(workshop.document(), "?dry_run=1", If_Match='"9"')).status == 412
    same = await author.put(workshop.document(), "?dry_run=1", If_Match='"1"')
    assert (same.json["unchanged"], same.json["revision"]) == (True, 1)
    document = workshop.document(packages={})
    assert (await author.put(document, "?dry_run=1", If_Match='"1"')).json["error"]["path"] == "$.releases[0].package"


@pytest.mark.parametrize("query", ["?dryrun=1", "?dry_run=0", "?dry_run=true", "?dry_run", "?dry_run=1&x=1"])
async def test_misspelt_query_publishes_nothing(author: Any, workshop: Any, query: str) -> None:
    """Who meant a dry run and wrote something else does not publish."""
    answer = await author.put(workshop.document(), query)
    assert answer.error == (400, "bad_request", f"expected query dry_run=1 or none, got {query[1:]!r}")
    assert (await author.get()).status == 404


@pytest.mark.parametrize("path", [PATH, "/v1/documents", "/healthz"])
async def test_reading_takes_no_query(author: Any, path: str) -> None:
    """A question that would not be heard is refused."""
    for query in ("x=1", "None=1"):
        error = (400, "bad_request", f"expected no query, got {query!r}")
        assert (await author.ask("GET", f"{path}?{query}")).error == error


async def test_malformed_precondition_is_refused(author: Any, workshop: Any) -> None:
    """A revision without quotes is not taken for no precondition."""
    answer = await author.put(workshop.document(), If_Match="1")
    wanted = "expected * or a revision in double quotes in If-Match, like \"7\", got '1'"
    assert answer.error == (400, "bad_request", wanted)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (PATH, f"expected the name of a document, got program:{PROGRAM}"),
        ("/v1/documents/audience/a", "expected the name of a document, got audience:a"),
        ("/v1/documents/PROGRAM/a", "expected a kind of 1 to 16 lower-case letters, got 'PROGRAM'"),
        (
            "/v1/documents/program/a%3Ab",
            "expected an id of 1 to 128 letters, digits, '.', '_' and '-', got 'a:b'",
        ),
        ("/v1/nothing", "not found: GET '/v1/nothing'"),
    ],
)
async def test_unknown_things_are_not_found(author: Any, path: str, message: str) -> None:
    """What there is not is said so."""
    assert (await author.ask("GET", path)).error == (404, "not_found", message)


async def test_other_method_is_refused(author: Any) -> None:
    """A document is not deleted: it is taken down."""
    answer = await author.ask("DELETE", PATH)
    assert answer.error == (405, "method_not_allowed", f"method not allowed: DELETE {PATH!r}")
    assert set(answer.headers["Allow"].split(",")) == {"GET", "HEAD", "PUT"}


async def test_too_large_document_is_refused(author: Any) -> None:
    """A body over the limit is not read, whatever it is."""
    answer = await author.ask("PUT", PATH, b" " * (MAX_DOCUMENT_BYTES + 1))
    assert answer.error[:2] == (413, "too_large")
    answer = await author.ask("PUT", PATH, b" " * MAX_DOCUMENT_BYTES)
    assert answer.status == 422


async def test_body_that_trickles_is_refused(publisher: Any, author: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that does not come ends its request."""
    monkeypatch.setattr(api, "BODY_TIMEOUT_S", 0.05)
    host, port = publisher.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    token = "a-token-of-the-tests"
    head = f"PUT {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: 10\r\n\r\n"
    writer.write(head.encode() + b"{")
    async with asyncio.timeout(30):
        answer = await reader.readuntil(b"}\n")
    assert b"400 Bad Request" in answer
    assert b"expected the body within 0 s" in answer
    writer.close()
    await writer.wait_closed()
    assert (await author.ask("GET", "/healthz")).status == 200


async def test_failing_store_is_said(author: Any, workshop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the store fails the author is told to come again, and the publisher lives on."""
    await author.put(workshop.document())

    def fail(*_: Any) -> None:
        raise api.StoreError("the store failed: disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "commit", fail)
        answer = await author.put(workshop.document(poll_after=1), If_Match='"1"')
    assert answer.error == (503, "store_failed", "the store failed: disk I/O error")
    assert answer.headers["Retry-After"] == "1"
    assert (await author.put(workshop.document(poll_after=1), If_Match='"1"')).status == 200


async def test_own_mistake_is_answered(author: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody has thought of is a 500 in JSON, without anything of its inside."""

    def fail(_: Store) -> None:
        raise ZeroDivisionError("secret")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "read_all", fail)
        answer = await author.ask("GET", "/v1/documents")
    assert answer.error == (500, "internal", "the publisher has failed; its log says how")
    assert (await author.ask("GET", "/v1/documents")).status == 200


def test_every_error_has_an_answer() -> None:
    """No error that a request can meet is left without a status, and no code is used twice."""
    codes = [code for _, code in api._ERRORS.values()]
    assert len(set(codes)) == len(codes)
    started = {api.PublisherError, *api.PublisherError.__subclasses__()} - set(api._ERRORS)
    assert {error.__name__ for error in started} == {
        "PublisherError",
        "BackupError",
        "KeyMismatchError",
    }


class Cdn:
    """A file server whose files a test puts there; it counts who asks."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.url = ""
        self.reached, self.gate = asyncio.Event(), asyncio.Event()
        self.gate.set()

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        self.reached.set()
        await self.gate.wait()
        body = self.files.get(request.path)
        return web.Response(status=404) if body is None else web.Response(body=body)


@pytest.fixture
async def cdn() -> AsyncIterator[Cdn]:
    """A real HTTP server on the loop-back, without files."""
    cdn = Cdn()
    app = web.Application()
    app.router.add_get("/{path:.*}", cdn.answer)
    async with TestServer(app) as server:
        cdn.url = str(server.make_url("")).rstrip("/")
        yield cdn


@pytest.fixture
async def checking(workshop: Any, redis_server: Any, clock: Any, meet: Any, cdn: Cdn) -> AsyncIterator[Any]:
    """A control plane of a publisher that looks for the files."""
    settings = workshop.settings(redis_server.url, unchecked_files=False, files=cdn.url)
    async with serve(settings, clock, look_every_s=0.05) as running:
        yield meet(running)


def describe(body: bytes, url: str = "/v1/files/a") -> Any:
    """A transfer of these bytes."""
    return {"format": "zstd", "url": url, "size": len(body), "sha256": hashlib.sha256(body).hexdigest()}


async def test_release_waits_for_its_file(checking: Any, workshop: Any, cdn: Cdn, feed: Any) -> None:
    """A release whose file cannot be fetched is not visible; once the file is there, it is, and nobody asks again."""
    body = b"a package"
    document = workshop.document(packages={"1.0.0.0": workshop.package(transfers=[describe(body)])})
    for _ in range(2):
        refused = await checking.put(document)
        assert refused.error[:2] == (422, "bad_document")
        assert refused.json["error"]["path"] == "$.packages['1.0.0.0'].transfers[0].url"
        assert refused.error[2].endswith(f" at {cdn.url}/v1/files/a, got status 404")
        assert (await checking.get()).status == 404
        assert await feed.index() == {}
    cdn.files["/v1/files/a"] = body
    assert (await checking.put(document)).status == 200
    assert len(await feed.index()) == 1
    assert len(cdn.asked) == 3
    assert (await checking.put({**document, "poll_after": 9}, If_Match="*")).status == 200
    assert len(cdn.asked) == 3


async def test_only_new_files_are_fetched(checking: Any, workshop: Any, cdn: Cdn) -> None:
    """What came in time need not come again when another file was missing; a dry run fetches nothing."""
    bodies = {"/a": b"first", "/b": b"second"}
    transfers = [describe(body, url) for url, body in bodies.items()]
    document = workshop.document(packages={"1.0.0.0": workshop.package(transfers=transfers)})
    assert (await checking.put(document, "?dry_run=1")).status == 200
    assert cdn.asked == []
    cdn.files = {"/a": b"first", "/b": b"wrong!"}

    async def put_until_first_came() -> None:
        # The second may be found wrong before the first has come: then it is fetched again.
        while True:
            cdn.asked.clear()
            refused = await checking.put(document)
            assert refused.json["error"]["path"] == "$.packages['1.0.0.0'].transfers[1].url"
            if "/a" not in cdn.asked:
                return

    async with asyncio.timeout(30):
        await put_until_first_came()
    cdn.files = {"/b": b"second"}
    cdn.asked.clear()
    assert (await checking.put(document)).status == 200
    assert cdn.asked == ["/b"]


async def test_files_that_may_be_gone_are_fetched_again(checking: Any, workshop: Any, cdn: Cdn, clock: Any) -> None:
    """A release that ended long ago and lives again waits for its file, which may have been cleared away meanwhile."""
    body = cdn.files["/v1/files/a"] = b"a package"
    document = workshop.document(packages={"1.0.0.0": workshop.package(transfers=[describe(body)])})
    ended = {**document, "releases": [{**document["releases"][0], "state": "ended"}]}
    assert (await checking.put(document)).status == 200
    assert (await checking.put(ended, If_Match="*")).status == 200
    clock.now += 86_400
    assert (await checking.put(document, If_Match="*")).status == 200
    assert len(cdn.asked) == 1
    assert (await checking.put(ended, If_Match="*")).status == 200
    clock.now += 1
    cdn.files.clear()
    assert (await checking.put(document, If_Match="*")).error[:2] == (422, "bad_document")


async def test_files_of_live_releases_are_not_fetched_again(checking: Any, workshop: Any, cdn: Cdn, clock: Any) -> None:
    """What releases name is kept in the store, however long ago it was looked at."""
    body = cdn.files["/v1/files/a"] = b"a package"
    document = workshop.document(packages={"1.0.0.0": workshop.package(transfers=[describe(body)])})
    assert (await checking.put(document)).status == 200
    clock.now += 86_401
    cdn.files.clear()
    assert (await checking.put({**document, "poll_after": 9}, If_Match="*")).status == 200


async def test_refusals_come_before_visits(checking: Any, workshop: Any, cdn: Cdn) -> None:
    """Nothing is fetched for a document that is refused anyway, nor for one that is current."""
    document = workshop.document(packages={"1.0.0.0": workshop.package(transfers=[describe(b"x")])})
    cdn.files["/v1/files/a"] = b"x"
    assert (await checking.put(document, If_Match='"1"')).status == 412
    assert (await checking.put({**document, "floor": "2.0"})).error[:2] == (422, "bad_document")
    assert cdn.asked == []
    assert (await checking.put(document)).status == 200
    assert (await checking.put(document, If_Match="*")).json["unchanged"] is True
    assert cdn.asked == ["/v1/files/a"]


async def test_visits_keep_nobody_waiting(checking: Any, workshop: Any, cdn: Cdn) -> None:
    """While one author's file is fetched, another author is served: a visit holds no lock."""
    cdn.files["/v1/files/a"] = b"x"
    cdn.gate.clear()
    document = workshop.document(packages={"1.0.0.0": workshop.package(transfers=[describe(b"x")])})
    slow = asyncio.create_task(checking.put(document))
    async with asyncio.timeout(30):
        await cdn.reached.wait()
        assert (await checking.put(workshop.document(releases=[], program="2021000000000002"))).status == 200
        assert not slow.done()
        cdn.gate.set()
        assert (await slow).status == 200


@pytest.mark.parametrize("query", ["", "?dry_run=1"])
async def test_path_without_files_is_refused(
    *, workshop: Any, redis_server: Any, clock: Any, meet: Any, query: str
) -> None:
    """A publisher that does not know where devices look takes no address without a host, unless nobody wants it."""
    async with serve(workshop.settings(redis_server.url, unchecked_files=False), clock) as running:
        refused = await meet(running).put(workshop.document(), query)
        assert refused.error[:2] == (422, "bad_document")
        assert refused.json["error"]["path"] == "$.packages['1.0.0.0'].transfers[0].url"
    async with serve(workshop.settings(redis_server.url), clock) as running:
        assert (await meet(running).put(workshop.document(), query)).status == 200


async def test_floor_that_nobody_can_pass_is_refused(author: Any, workshop: Any) -> None:
    """A floor above all that is given is refused at its place; a lower one is published and read back."""
    refused = await author.put(workshop.document(floor="1.0.1"))
    assert (refused.status, refused.json["error"]["path"]) == (422, "$.floor")
    assert (await author.put(workshop.document(floor="1.0"))).status == 200
    assert (await author.get()).json["floor"] == "1.0"


async def test_key_that_goes_away_refuses_nothing_that_is_kept(
    author: Any, workshop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the document could be signed and the head could not, it is kept: the answer is not yet, and not no."""

    def fail(*_: Any) -> Any:
        raise SigningError("a key could not be used: it does not sign")

    with monkeypatch.context() as patch:
        patch.setattr(Signer, "sign_head", fail)
        answer = await author.put(workshop.document())
        assert (answer.status, answer.json["distributed"], answer.json["revision"]) == (202, False, 1)
    assert (await author.get()).status == 200


async def test_key_that_is_away_is_an_answer(author: Any, workshop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a key does not sign, the author is told to come again, and nothing was changed."""

    def fail(*_: Any) -> Any:
        raise CustodyError("pkcs11:token=hsm: it does not sign")

    document = workshop.document()
    monkeypatch.setattr(PrivateKey, "sign", fail)
    for query in ("", "?dry_run=1"):
        answer = await author.put(document, query)
        assert answer.error == (
            503,
            "signing_failed",
            "a key could not be used: pkcs11:token=hsm: it does not sign",
        )
        assert answer.headers["Retry-After"] == "1"
    monkeypatch.undo()
    assert (await author.get()).status == 404
    assert (await author.put(document)).json["revision"] == 1
