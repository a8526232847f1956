"""Tests of publisher/trial.py, and of trials over the publisher's HTTP."""

import logging
from typing import Any

import orjson
import pytest

from channel import Feed
from custody import CustodyError
from publisher import signer as signer_module
from publisher.errors import BadDocumentError, BadRequestError
from publisher.trial import MAX_TOKEN_CHARS, check_listed, make_claim, read_wish
from ruleset import parse_program
from tests.publisher.conftest import NOW, PROGRAM, WORKSPACE
from trust import verify_trial

DAY_S = 86_400
WISH: dict[str, Any] = {"program": PROGRAM, "version": "1.0", "users": ["u-777"], "expires": NOW + DAY_S}


async def ask(author: Any, **changes: Any) -> Any:
    """The answer to a wish for a trial."""
    return await author.ask("POST", "/v1/trials", WISH | changes)


async def test_trial_is_made(author: Any, workshop: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The token is signed by the channel key and says what was wished for; the log tells of it, and has no token."""
    caplog.set_level(logging.DEBUG)
    await author.put(workshop.document(trials=["1.0.0.0"]))
    answer = await ask(author, users=["u-777", "u-778", "u-777"])
    assert answer.status == 201
    claim = verify_trial(answer.json["trial"], workshop.root.role("channel"))
    assert (claim.workspace, claim.program, claim.version) == (WORKSPACE, PROGRAM, "1.0")
    assert (claim.users, claim.issued, claim.expires) == (("u-777", "u-778"), NOW, NOW + DAY_S)
    assert (answer.json["id"], answer.json["expires"]) == (claim.id, NOW + DAY_S)
    assert f"trial {claim.id} made: 1.0 of {PROGRAM} for 2 users until {NOW + DAY_S}" in caplog.text
    assert answer.json["trial"] not in caplog.text
    assert "u-777" not in caplog.text


async def test_each_trial_has_its_own_id(author: Any, workshop: Any) -> None:
    """Two trials of the same are two."""
    await author.put(workshop.document(trials=["1.0.0.0"]))
    first, second = await ask(author), await ask(author)
    assert first.json["id"] != second.json["id"]


async def test_published_document_offers_what_trials_give(author: Any, workshop: Any, feed: Feed) -> None:
    """A version that no release names has its offer, for edges to hand out."""
    release = {"id": "r1", "package": "1.0.0.0"}
    await author.put(workshop.document(release, versions=("1.0.0.0", "2.0.0.0"), trials=["2.0.0.0"]))
    (name,) = await feed.index()
    (envelope,) = await feed.fetch([name])
    offers = parse_program(workshop.signer().open(envelope)).offers
    assert offers
    assert offers.install.keys() == {"1.0.0.0", "2.0.0.0"}


@pytest.mark.parametrize(
    ("changes", "refusal", "message"),
    [
        ({"version": "2.0"}, (422, "bad_document"), "expected '2.0' among the document's trials, got 1.0.0.0"),
        ({"version": "two"}, (400, "bad_request"), "$.version: expected"),
        ({"program": "2021000000000009"}, (404, "not_found"), "expected the name of a document"),
        ({"program": "../x"}, (404, "not_found"), "expected"),
        ({"users": []}, (400, "bad_request"), "`$.users`"),
        ({"users": [f"u-{n}" for n in range(101)]}, (400, "bad_request"), "`$.users`"),
        ({"users": [""]}, (400, "bad_request"), "`$.users[0]`"),
        ({"users": ["u" * 256] * 2 + [f"{n:0256}" for n in range(40)]}, (400, "bad_request"), "41 users: name fewer"),
        ({"expires": NOW}, (400, "bad_request"), "expected expires within 2592000 seconds after issued"),
        ({"expires": NOW + 31 * DAY_S}, (400, "bad_request"), "expected expires within 2592000 seconds after issued"),
        ({"expires": "soon"}, (400, "bad_request"), "`$.expires`"),
        ({"days": 7}, (400, "bad_request"), "unknown field `days`"),
    ],
)
async def test_wish_that_is_refused(
    author: Any, workshop: Any, changes: dict[str, Any], refusal: tuple[int, str], message: str
) -> None:
    """What is wrong with a wish is said, and no token made."""
    await author.put(workshop.document(trials=["1.0.0.0"]))
    answer = await ask(author, **changes)
    assert (answer.status, answer.json["error"]["code"]) == refusal
    assert message in answer.json["error"]["message"]


async def test_stranger_gets_no_trial(author: Any, workshop: Any) -> None:
    """Without the publisher's token nobody gets one, and no query is taken."""
    await author.put(workshop.document(trials=["1.0.0.0"]))
    assert (await author.ask("POST", "/v1/trials", WISH, Authorization="Bearer wrong")).status == 401
    assert (await author.ask("POST", "/v1/trials?dry_run=1", WISH)).status == 400


async def test_key_that_cannot_be_used(author: Any, workshop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the key's token is away, that is told."""
    await author.put(workshop.document(trials=["1.0.0.0"]))

    def fail(*_: object) -> str:
        raise CustodyError("the token is away")

    monkeypatch.setattr(signer_module, "sign_trial", fail)
    answer = await ask(author)
    assert (answer.status, answer.json["error"]["code"]) == (503, "signing_failed")


@pytest.mark.parametrize("body", [b"", b"[]", b"\xff", b"{", b"[" * 5_000])
def test_body_that_is_no_wish(body: bytes) -> None:
    """Anything else is refused."""
    with pytest.raises(BadRequestError, match="expected a trial's program, version, users and expires"):
        read_wish(body)


def test_versions_compare_as_versions(workshop: Any) -> None:
    """A version may be written otherwise than in the document; a document without trials gives none."""
    wish = read_wish(b'{"program":"2021000000000001","version":"1","users":["u"],"expires":1}')
    check_listed(wish, parse_program(to_bytes(workshop.document(trials=["1.0.0.0"]))))
    with pytest.raises(BadDocumentError, match=r"\$\.trials: expected '1' among the document's trials, got none"):
        check_listed(wish, parse_program(to_bytes(workshop.document())))


def test_longest_token_is_short_enough(workshop: Any) -> None:
    """A hundred users with ids of usual length fit into a token that edges take."""
    users = ",".join(f'"user-{n:027}"' for n in range(100))
    wish = read_wish(f'{{"program":"{PROGRAM}","version":"1","users":[{users}],"expires":{NOW + 1}}}'.encode())
    token = workshop.signer().sign_trial(make_claim(wish, WORKSPACE, NOW, "8f0c2d1e"))
    assert len(token) <= MAX_TOKEN_CHARS


def to_bytes(document: Any) -> bytes:
    """A document as it comes."""
    return orjson.dumps(document)
