"""OFREP on the wire: every case on the lane and in aiohttp, in whatever parts the bytes come."""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import orjson
import pytest

from contract.vector import SwitchVector, load_switch_vectors
from edge.cors import Cors
from edge.place import Locator, read_network
from edge.proof import Prover
from edge.reception import Reception
from tests.contract.lists import surround
from tests.edge.passport import NOW, USER, BackEnd
from tests.wire.client import Answer, Client, ask, make_check
from tests.wire.conftest import publish_usual
from tests.wire.server import WireServer

Json = dict[str, Any]
BULK = b"POST /ofrep/v1/evaluate/flags HTTP/1.1"
DEMO = b"X-Graywave-Workspace: demo\r\n"
ORIGIN = b"Origin: https://app.example\r\n"
KEY = "new-home"
BACK_END = BackEnd()
RULES = [
    {"id": "staff", "variant": "on", "who": {"users": [USER]}},
    {"id": "gray", "variant": "on", "who": {"percent": {"parts": 1, "salt": "s"}}},
]
FLAG = {"type": "boolean", "variants": {"on": True, "off": False}, "default": "off"}
SET: Json = {
    "format": 1,
    "workspace": "demo",
    "epoch": 1,
    "revision": 7,
    "switches": "app",
    "flags": {KEY: {**FLAG, "rules": RULES}, "old": FLAG, "gone": {**FLAG, "state": "disabled"}},
}
_find_tag = re.compile(rb"\r\nETag: ([^\r]*)\r\n", re.IGNORECASE).search


@pytest.fixture
def app(server: WireServer) -> Iterator[WireServer]:
    """A server with the switch set SET."""
    server.publish([], 7, 1, NOW, switches=[SET])
    yield server
    server.call(server.rules.attend)
    publish_usual(server)


def make_bulk(
    context: Json | None = None, fields: bytes = DEMO, line: bytes = BULK, body: bytes | None = None
) -> bytes:
    """The bytes of a question for all switches."""
    if body is None:
        body = orjson.dumps({} if context is None else {"context": context})
    return make_check(body, fields, line=line)


def make_single(key: str, context: Json | None = None, fields: bytes = DEMO, body: bytes | None = None) -> bytes:
    """The bytes of a question for one switch."""
    return make_bulk(context, fields, b"POST /ofrep/v1/evaluate/flags/%b HTTP/1.1" % key.encode(), body)


def send(server: WireServer, request: bytes) -> tuple[Answer, bytes]:
    """The answer to one request, and its head."""
    with Client(server) as client:
        client.send(request)
        client.end()
        answer = client.read()
        assert answer is not None
        assert client.read() is None
        return answer, client.heads[0]


def send_for_json(server: WireServer, request: bytes) -> tuple[int, Json]:
    """The status of an answer, and what its JSON says."""
    answer, _ = send(server, request)
    assert answer.type == "application/json"
    told: Json = orjson.loads(answer.body)
    return answer.status, told


def read_tag(head: bytes) -> bytes:
    """The entity tag of an answer."""
    found = _find_tag(head)
    assert found
    return found[1]


@pytest.mark.parametrize("vector", load_switch_vectors(), ids=lambda vector: vector.id)
def test_tells_as_the_contract_says(both: dict[str, WireServer], vector: SwitchVector) -> None:
    """All switches, and each alone, are those of the vector, and both sides say the same bytes."""
    context = {"context": vector.context}
    single = [flag["key"] for flag in vector.flags]
    requests = [make_bulk(body=orjson.dumps(context)), *(make_single(key, vector.context) for key in single)]
    for server in both.values():
        server.publish([], 7, 1, vector.now, surround(vector.lists), switches=vector.documents)
    try:
        answers = {name: [ask(server, request) for request in requests] for name, server in both.items()}
    finally:
        for server in both.values():
            publish_usual(server)
    assert answers["lane"] == answers["plain"]
    (bulk,), *ones = answers["lane"]
    assert sorted(orjson.loads(bulk.body)["flags"], key=lambda flag: str(flag["key"])) == sorted(
        vector.flags, key=lambda flag: str(flag["key"])
    )
    assert [(one.status, orjson.loads(one.body)) for (one,) in ones] == [
        (400 if "errorCode" in flag else 200, flag) for flag in vector.flags
    ]


def test_all_switches(app: WireServer) -> None:
    """Every switch, the version, and a tag that begins with it; with a slash at the end the same."""
    answer, head = send(app, make_bulk({"targetingKey": USER}))
    told = orjson.loads(answer.body)
    assert {flag["key"]: (flag.get("value"), flag["reason"]) for flag in told["flags"]} == {
        KEY: (True, "TARGETING_MATCH"),
        "old": (False, "STATIC"),
        "gone": (None, "DISABLED"),
    }
    assert read_tag(head).startswith(b'"%b-' % told["metadata"]["version"].encode())
    slash = make_bulk({"targetingKey": USER}, line=b"POST /ofrep/v1/evaluate/flags/ HTTP/1.1")
    assert send(app, slash)[0] == answer


@pytest.mark.parametrize("wrap", [b"%b", b"W/%b", b'"other", %b', b'%b,"other"'])
def test_what_the_client_has_already(app: WireServer, wrap: bytes) -> None:
    """The tag in If-None-Match, alone or in a list, is answered with 304, that tag and no body."""
    tag = read_tag(send(app, make_bulk({"targetingKey": USER}))[1])
    field = b"%bIf-None-Match: %b\r\n" % (DEMO, wrap % tag)
    answer, head = send(app, make_bulk({"targetingKey": USER}, field))
    assert (answer.status, answer.body, read_tag(head)) == (304, b"", tag)
    assert send(app, make_bulk({"targetingKey": "another"}, field))[0].status == 200


def test_nothing_is_evaluated_for_a_304(app: WireServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tag is known before any switch is looked at."""
    tag = read_tag(send(app, make_bulk())[1])
    monkeypatch.setattr("edge.switch.decide_switch", lambda *_: pytest.fail("a switch was evaluated"))
    assert send(app, make_bulk(fields=b"%bIf-None-Match: %b\r\n" % (DEMO, tag)))[0].status == 304


def test_connection_goes_on_after_a_304(app: WireServer) -> None:
    """An answer without a body ends where it says; a check may follow it on one connection."""
    tag = read_tag(send(app, make_bulk())[1])
    again = make_bulk(fields=b"%bIf-None-Match: %b\r\n" % (DEMO, tag))
    answers = ask(app, again + make_single("old") + make_check(), again)
    assert [answer.status for answer in answers] == [304, 200, 200, 304]


def test_tag_changes_with_the_documents(app: WireServer) -> None:
    """A set that is published anew, and an opening that comes, are told to whoever asks with the old tag."""
    rule = {"id": "later", "variant": "on", "opens_at": NOW + 10}
    opening = {**SET, "flags": {"old": {**FLAG, "rules": [rule]}}}
    for documents, now in (([{**SET, "revision": 8}], NOW), ([opening], NOW), ([opening], NOW + 10)):
        tag = read_tag(send(app, make_bulk())[1])
        app.publish([], 8, 1, now, switches=documents)
        answer, _ = send(app, make_bulk(fields=b"%bIf-None-Match: %b\r\n" % (DEMO, tag)))
        assert answer.status == 200


@pytest.mark.parametrize("body", [b"", b"{}", b'{"context":null}', b'{"context":{}}', b'{"other":1}'])
def test_nobody_asks(app: WireServer, body: bytes) -> None:
    """Who says nothing of itself gets what everybody gets."""
    assert send_for_json(app, make_single("old", body=body)) == (
        200,
        {"key": "old", "value": False, "reason": "STATIC", "variant": "off"},
    )


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "PARSE_ERROR"),
        (b'{"context":{"a":"\xff"}}', "PARSE_ERROR"),
        (b'{"context":{"a":' + b"[" * 3_000, "PARSE_ERROR"),
        (b"[]", "INVALID_CONTEXT"),
        (b'{"context":[]}', "INVALID_CONTEXT"),
        (b'{"context":"u"}', "INVALID_CONTEXT"),
        (b'{"context":{"targetingKey":7}}', "INVALID_CONTEXT"),
        (b'{"context":{"targetingKey":"%b"}}' % (b"k" * 257), "INVALID_CONTEXT"),
    ],
)
def test_bodies_that_are_refused(app: WireServer, body: bytes, code: str) -> None:
    """400 with OFREP's code and words for people; with the key where one switch was asked for."""
    status, told = send_for_json(app, make_single(KEY, body=body))
    assert (status, told["key"], told["errorCode"], bool(told["errorDetails"])) == (400, KEY, code, True)
    status, told = send_for_json(app, make_bulk(body=body))
    assert (status, told["errorCode"], "key" in told) == (400, code, False)


def test_percentage_wants_a_targeting_key(app: WireServer) -> None:
    """One switch is an error; among all it is one item that is."""
    status, told = send_for_json(app, make_single(KEY, {"plan": "x"}))
    assert (status, told["key"], told["errorCode"]) == (400, KEY, "TARGETING_KEY_MISSING")
    status, told = send_for_json(app, make_bulk({"plan": "x"}))
    assert (status, [flag["key"] for flag in told["flags"] if "errorCode" in flag]) == (200, [KEY])


@pytest.mark.parametrize(
    "key", ["none", "new-home%00", "a%2Fb", "%E4%B8%AD", "%ff", "%", "k" * 200, "..", "OLD", "{a}"]
)
def test_switches_that_there_are_not(app: WireServer, key: str) -> None:
    """404 with the key, cut where it is long, whatever its bytes are."""
    status, told = send_for_json(app, make_single(key))
    assert (status, told["errorCode"], len(told["key"]) <= 128) == (404, "FLAG_NOT_FOUND", True)


def test_key_may_be_escaped(app: WireServer) -> None:
    """Clients differ in what they escape."""
    key = "".join(f"%{ord(letter):02x}" for letter in "old")
    assert quote(key) != key
    assert send_for_json(app, make_single(key))[1]["key"] == "old"


@pytest.mark.parametrize(
    "fields", [b"", b"X-Graywave-Workspace: nope\r\n", DEMO + DEMO, b"X-Graywave-Workspace: \xff\r\n"]
)
def test_workspaces_that_there_are_not(app: WireServer, fields: bytes) -> None:
    """404 in a body that clients of either kind read: where several are served, one has to be named, once."""
    status, told = send_for_json(app, make_single("old", fields=fields))
    assert (status, told["key"], told["errorCode"]) == (404, "old", "FLAG_NOT_FOUND")
    status, told = send_for_json(app, make_bulk(fields=fields))
    assert (status, told["errorCode"], "key" in told) == (404, "GENERAL", False)


def test_only_workspace_need_not_be_named(app: WireServer) -> None:
    """Where one is served alone, it is meant."""
    empty = app.rules.workspaces["empty"]
    app.call(lambda: app.rules.workspaces.pop("empty"))
    try:
        assert send(app, make_bulk(fields=b""))[0].status == 200
    finally:
        app.call(lambda: app.rules.workspaces.setdefault("empty", empty))


def test_rules_that_have_not_arrived(app: WireServer) -> None:
    """503, and Retry-After in whole seconds, which every client reads."""
    answer, head = send(app, make_single("old", fields=b"x-graywave-workspace:empty\r\n"))
    assert (answer.status, orjson.loads(answer.body)["errorCode"]) == (503, "GENERAL")
    assert b"\r\nRetry-After: 5\r\n" in head


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        (make_bulk(line=b"GET /ofrep/v1/evaluate/flags HTTP/1.1"), 405, "method_not_allowed"),
        (make_bulk(line=b"OPTIONS /ofrep/v1/evaluate/flags HTTP/1.1"), 405, "method_not_allowed"),
        (make_bulk(line=b"POST /ofrep/v1/evaluate/flagsx HTTP/1.1"), 404, "not_found"),
        (make_bulk(line=b"POST /ofrep/v1/evaluate/flags/a/b HTTP/1.1"), 404, "not_found"),
        (make_bulk(line=b"POST /ofrep/v1/configuration HTTP/1.1"), 404, "not_found"),
        (make_bulk(line=b"POST /ofrep/v1/evaluate/flags HTTP/2.0"), 400, "malformed_request"),
        (make_check(b"{}", line=BULK, content_type=b""), 415, "unsupported_media_type"),
        (make_check(b"{}", line=BULK, length=b""), 411, "length_required"),
        (make_check(b"{}", line=BULK, length=b"Content-Length: 65537\r\n"), 413, "too_large"),
        (make_check(b"{}", line=BULK, host=b""), 400, "malformed_request"),
        (make_bulk(line=b"POST /ofrep/v1/evaluate/flags/a b HTTP/1.1"), 400, "malformed_request"),
    ],
)
def test_heads_that_are_refused(app: WireServer, request_: bytes, status: int, code: str) -> None:
    """What is wrong with a head is told as for a check."""
    answer, _ = send(app, request_)
    assert (answer.status, answer.code) == (status, code)


@pytest.mark.parametrize(
    "line",
    [
        b"POST /ofrep/v1/evaluate/flags?flagConfigEtag=x HTTP/1.1",
        b"POST http://edge/ofrep/v1/evaluate/flags HTTP/1.1",
        b"POST /ofrep/v1/evaluate/%66lags HTTP/1.1",
        b"POST /ofrep/v1/evaluate/flags HTTP/1.0",
    ],
)
def test_another_spelling(app: WireServer, line: bytes) -> None:
    """What the lane leaves to aiohttp is answered all the same."""
    assert send(app, make_bulk(line=line))[0] == send(app, make_bulk())[0]


SPLIT = make_single("old", {"targetingKey": "u"}, DEMO)
MIXED = make_bulk({"targetingKey": "u"}) + make_check() + SPLIT


@pytest.mark.parametrize("at", range(1, len(SPLIT)))
def test_one_split_at_every_byte(app: WireServer, at: int) -> None:
    """A question for one switch in two parts."""
    assert [answer.status for answer in split(app, SPLIT, at)] == [200]


@pytest.mark.parametrize("at", range(1, len(MIXED), 7))
def test_pipelined_and_split(app: WireServer, at: int) -> None:
    """All switches, a check and one switch behind each other, in two parts."""
    assert [answer.status for answer in split(app, MIXED, at)] == [200, 200, 200]


def split(server: WireServer, sent: bytes, at: int) -> list[Answer]:
    """The answers to what is sent in two parts; the server has taken the first in before the second comes."""
    with Client(server) as client:
        client.send(sent[:at])
        server.call(lambda: None)
        client.send(sent[at:])
        client.end()
        return client.read_all()


def ask_in_check(server: WireServer, **members: Any) -> Json:
    """What a check tells that asks for switches."""
    question = {"workspace": "demo", "device": {"id": USER, "platform": "ios", "user": USER}, "programs": {"1": ""}}
    return send_for_json(server, make_check(orjson.dumps({**question, **members})))[1]


def test_switches_in_a_check(app: WireServer) -> None:
    """A check tells what OFREP tells; who names the tag is told neither of the two members, and of other keys both."""
    told = ask_in_check(app, switches=True)
    _, whole = send_for_json(app, make_bulk({"targetingKey": USER, "platform": "ios"}))
    assert told["switches"] == {flag.pop("key"): flag for flag in whole["flags"]}
    assert list(told)[-2:] == ["switches", "switches_etag"]
    again = ask_in_check(app, switches=True, switches_etag=told["switches_etag"])
    assert again == {name: value for name, value in told.items() if not name.startswith("switches")}
    some = ask_in_check(app, switches=["old"], switches_etag=told["switches_etag"])
    assert list(some["switches"]) == ["old"]
    assert "switches" not in ask_in_check(app, switches=["old"], switches_etag=some["switches_etag"])


def test_user_of_switches_in_a_check_has_to_be_proven(app: WireServer, prover: Prover) -> None:
    """Where users have to be proven, one that is not is nobody here, too."""
    assert ask_in_check(app, switches=[KEY])["switches"][KEY]["value"] is False
    assert prover.proven == 0


def test_is_counted(app: WireServer) -> None:
    """Questions, and those that were answered with 304; errors are among the refusals."""
    counters = app.counters
    before = (counters.flag_requests, counters.flags_unchanged, counters.refused)
    tag = read_tag(send(app, make_bulk())[1])
    send(app, make_bulk(fields=b"%bIf-None-Match: %b\r\n" % (DEMO, tag)))
    send(app, make_single("none"))
    found = (counters.flag_requests, counters.flags_unchanged, counters.refused)
    assert tuple(now - then for now, then in zip(found, before, strict=True)) == (3, 1, 1)


@pytest.fixture
def prover(app: WireServer) -> Prover:
    """The server wants proof of users."""
    prover = BACK_END.make_prover()
    app.call(lambda: app.rules.attend(Reception({"demo": prover})))
    return prover


def test_user_that_has_to_be_proven(app: WireServer, prover: Prover) -> None:
    """Neither the context nor the targeting key makes a user; the back end's token does, and the tag covers it."""
    token = DEMO + b"Authorization: Bearer %b\r\n" % BACK_END.sign()
    for context in ({"targetingKey": USER}, {"targetingKey": "d", "user": USER}):
        assert send_for_json(app, make_single(KEY, context))[1]["value"] is False
        assert send_for_json(app, make_single(KEY, context, token))[1]["value"] is True
    tag = read_tag(send(app, make_bulk({"targetingKey": "d"}, token))[1])
    again = DEMO + b"If-None-Match: %b\r\n" % tag
    assert send(app, make_bulk({"targetingKey": "d"}, again))[0].status == 200
    assert prover.proven == 3


def test_place_that_a_proxy_tells(app: WireServer) -> None:
    """Who does not say where it is, is where the trusted proxy says; the tag covers that, too."""
    rule = {"id": "bonn", "variant": "on", "when": [{"attribute": "city", "op": "in", "values": ["Bonn"]}]}
    app.publish([], 8, 1, NOW, switches=[{**SET, "flags": {"old": {**FLAG, "rules": [rule]}}}])
    locator = Locator([read_network("127.0.0.0/8")], {"city": b"x-city"}, None)
    app.call(lambda: app.rules.attend(Reception({}, locator)))
    there = DEMO + b"X-City: Bonn\r\n"
    assert send_for_json(app, make_single("old", {}, there))[1]["value"] is True
    assert send_for_json(app, make_single("old", {"city": "Mainz"}, there))[1]["value"] is False
    tag = read_tag(send(app, make_bulk({}, there))[1])
    again = DEMO + b"X-City: Mainz\r\nIf-None-Match: %b\r\n" % tag
    assert send(app, make_bulk({}, again))[0].status == 200


@pytest.fixture
def cors(app: WireServer) -> WireServer:
    """A server whose answers pages of one origin may see."""
    app.call(lambda: app.rules.attend(cors=Cors(["https://app.example"])))
    return app


@pytest.mark.parametrize("request_", [make_bulk, make_check], ids=["flags", "check"])
def test_answers_to_pages(cors: WireServer, request_: Any) -> None:
    """An answer to a page of a named origin has what a browser wants; another's, and nobody's, has not."""
    _, head = send(cors, request_(fields=DEMO + ORIGIN))
    assert b"\r\nAccess-Control-Allow-Origin: https://app.example\r\n" in head
    assert b"\r\nAccess-Control-Expose-Headers: ETag, Preference-Applied, Retry-After\r\n" in head
    assert b"\r\nVary: Origin\r\n" in head
    for fields in (DEMO, DEMO + b"Origin: https://other.example\r\n", DEMO + ORIGIN + ORIGIN):
        assert b"Access-Control" not in send(cors, request_(fields=fields))[1]


def test_refusals_to_pages(cors: WireServer) -> None:
    """A page may read why it was refused, and a 304."""
    for request in (make_check(b"{", ORIGIN), make_single("none", fields=DEMO + ORIGIN)):
        assert b"\r\nAccess-Control-Allow-Origin: https://app.example\r\n" in send(cors, request)[1]
    tag = read_tag(send(cors, make_bulk())[1])
    answer, head = send(cors, make_bulk(fields=b"%b%bIf-None-Match: %b\r\n" % (DEMO, ORIGIN, tag)))
    assert answer.status == 304
    assert b"\r\nAccess-Control-Allow-Origin: https://app.example\r\n" in head


@pytest.mark.parametrize(
    "target", [b"/v1/check", b"/v1/report", b"/ofrep/v1/evaluate/flags", b"/ofrep/v1/evaluate/flags/a"]
)
def test_browsers_that_ask_before(cors: WireServer, target: bytes) -> None:
    """A preflight is answered with what a page may send."""
    line = b"OPTIONS %b HTTP/1.1\r\nHost: edge\r\nAccess-Control-Request-Method: POST\r\n" % target
    answer, head = send(cors, line + ORIGIN + b"\r\n")
    assert answer.status == 204
    assert b"\r\nAccess-Control-Allow-Methods: POST\r\n" in head
    names = b"Authorization, Content-Type, If-None-Match, Prefer, X-Graywave-Interactive, X-Graywave-Workspace"
    assert b"\r\nAccess-Control-Allow-Headers: %b\r\n" % names in head
    assert b"Access-Control" not in send(cors, line + b"\r\n")[1]


def test_any_origin(app: WireServer) -> None:
    """With * everybody may see answers, and no cache need keep them apart."""
    app.call(lambda: app.rules.attend(cors=Cors(["*"])))
    _, head = send(app, make_bulk(fields=DEMO + ORIGIN))
    assert b"\r\nAccess-Control-Allow-Origin: *\r\n" in head
    assert b"Vary" not in head
