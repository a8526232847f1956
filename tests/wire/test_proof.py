"""Proof of the user: by the token of a check's Authorization, the same on both lanes."""

from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from edge.allowance import Allowance
from edge.proof import Doubt, Prover
from edge.reception import Reception
from tests.edge.passport import NOW, USER, BackEnd
from tests.wire.client import Answer, Client, ask, make_check
from tests.wire.conftest import make_packages, publish_usual
from tests.wire.server import WireServer

BACK_END = BackEnd()
PROGRAM = "2021000000000099"


@pytest.fixture
def prover(server: WireServer) -> Iterator[Prover]:
    """The server wants proof of users; its one release is for USER alone."""
    document = make_packages()
    document["releases"][0]["who"] = {"users": [USER]}
    server.publish([document], 1, 1, NOW)
    prover = BACK_END.make_prover()
    receive_by(server, {"demo": prover})
    yield prover
    server.call(server.rules.attend)
    publish_usual(server)


def receive_by(server: WireServer, provers: dict[str, Prover]) -> None:
    """Lets the server want proof of these workspaces' users."""
    server.call(lambda: server.rules.attend(Reception(provers)))


def make_body(user: str | None = USER) -> bytes:
    """A question by a device that says it is a user's."""
    device = {"id": "d1", "platform": "android"} | ({} if user is None else {"user": user})
    return orjson.dumps({"workspace": "demo", "device": device, "programs": {PROGRAM: ""}})


def send(server: WireServer, fields: bytes, user: str | None = USER) -> Answer:
    """The answer to a check with further fields."""
    (answer,) = ask(server, make_check(make_body(user), fields))
    return answer


def has_update(answer: Answer) -> bool:
    """Whether the device is told of the release."""
    told: Any = orjson.loads(answer.body)
    assert answer.status == 200
    return bool(told["updates"])


def authorize(token: bytes) -> bytes:
    """The field that carries a token."""
    return b"Authorization: Bearer %b\r\n" % token


@pytest.mark.parametrize(
    "name", [b"Authorization: Bearer ", b"authorization:bearer ", b"AUTHORIZATION: \t BEARER  "], ids=["A", "a", "AUTH"]
)
@pytest.mark.parametrize("user", [USER, None])
def test_proven_user(server: WireServer, prover: Prover, name: bytes, user: str | None) -> None:
    """A token proves the user that the device names, or that it does not; the field may be written as fields may."""
    assert has_update(send(server, name + BACK_END.sign() + b" \r\n", user))
    assert prover.proven == 1


def test_claimed_user(server: WireServer, prover: Prover) -> None:
    """Naming a user without a token gives nothing that is released to users."""
    assert not has_update(send(server, b""))
    assert prover.doubts.total() == 0


@pytest.mark.parametrize(
    "fields",
    [
        authorize(b""),
        authorize(b"nonsense"),
        authorize(BACK_END.sign(sub="u-1")),
        authorize(BackEnd(kid=BACK_END.kid).sign()),
        b"Authorization: Basic " + BACK_END.sign() + b"\r\n",
        b"Proxy-Authorization: Bearer " + BACK_END.sign() + b"\r\n",
        b"X: Authorization: Bearer " + BACK_END.sign() + b"\r\n",
        authorize(BACK_END.sign()) + b"authorization: Bearer x\r\n",
        authorize(BACK_END.sign()) * 2,
    ],
    ids=["empty", "nonsense", "another's", "forged", "Basic", "Proxy", "in a value", "two", "twice"],
)
def test_what_proves_nothing(server: WireServer, prover: Prover, fields: bytes) -> None:
    """Whatever else stands there is no error, and no proof."""
    assert not has_update(send(server, fields))
    assert prover.proven == 0


def test_user_is_taken_at_its_word_where_no_proof_is_wanted(server: WireServer, prover: Prover) -> None:
    """Without keys for the workspace a token means nothing, and a user is who the device says."""
    receive_by(server, {})
    assert has_update(send(server, authorize(b"nonsense")))
    assert not has_update(send(server, authorize(BACK_END.sign()), None))
    assert prover.proven == 0


def test_another_workspace_is_not_asked_for_proof(server: WireServer, prover: Prover) -> None:
    """Proof is a workspace's own matter."""
    receive_by(server, {"empty": prover})
    assert has_update(send(server, b""))


def test_tokens_of_one_connection_do_not_mix(server: WireServer, prover: Prover) -> None:
    """Each check of a connection is answered by its own token, also where several come in one read."""
    good, bare = make_check(make_body(), authorize(BACK_END.sign())), make_check(make_body())
    forged = make_check(make_body(), authorize(BackEnd(kid=BACK_END.kid).sign()))
    answers = ask(server, good + bare + good + forged + bare)
    assert [has_update(answer) for answer in answers] == [True, False, True, False, False]
    assert (prover.proven, prover.doubts) == (2, {Doubt.FORGED: 1})


def test_token_that_comes_in_pieces(server: WireServer, prover: Prover) -> None:
    """A head may end within the token."""
    check = make_check(make_body(), authorize(BACK_END.sign()))
    at = check.index(b"Bearer") + 40
    with Client(server) as client:
        client.send(check[:at])
        client.send(check[at:])
        answer = client.read()
    assert answer
    assert has_update(answer)
    assert prover.proven == 1


def test_too_many_new_tokens(server: WireServer, prover: Prover) -> None:
    """More new tokens than a second has time for are asked to retry; connections go on, and others are answered."""
    assert has_update(send(server, authorize(BACK_END.sign())))
    prover._fresh = Allowance(0, "new proofs of users")
    with Client(server) as client:
        client.send(make_check(make_body(), authorize(BACK_END.sign(jti=1))))
        late = client.read()
        assert late
        assert (late.status, late.code) == (503, "overloaded")
        assert b"retry-after: 5\r\n" in client.heads[0].lower()
        client.send(make_check(make_body(), authorize(BACK_END.sign())))
        known = client.read()
        assert known
        assert has_update(known)
    assert prover.verified == 1


def test_tokens_fill_no_memory_of_heads(server: WireServer, prover: Prover) -> None:
    """Heads that differ in their tokens alone are one to the lane."""
    for n in range(5):
        send(server, authorize(BACK_END.sign(jti=n)))
    before = len(server._worker._reader._verdicts)
    for n in range(5, 10):
        send(server, authorize(BACK_END.sign(jti=n)))
    assert len(server._worker._reader._verdicts) == before
    assert prover.proven == 10
