"""Attackers who speak as an edge and hold no key: they have seen everything that was ever published, and lie.

TUF's names: arbitrary software, rollback, freeze, fast-forward, mix-and-match, wrong software, extraneous dependencies,
malicious mirror.
"""

import base64
import hashlib
import hmac
import itertools
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest

from container import ContainerError, VerificationError
from tests.attacks.harness import (
    DAY,
    EDGE,
    MIRROR,
    OTHER_PROGRAM,
    PROGRAM,
    STRANGER,
    YEAR,
    Keyring,
    Reply,
    Request,
    Town,
    Victim,
    answer_with,
    be_honest,
    change,
    make_answer,
    make_victim,
    refuse,
    replace_file,
    resign,
)
from trust import PublicKey, sign_offer

# An edge that names a root of the far future costs a device this many requests and no more.
MAX_ROOT_REQUESTS = 70


def forge(header: Mapping[str, Any], payload: bytes, signature: bytes = b"") -> str:
    """Returns a token made by hand."""
    parts = (json.dumps(header).encode(), payload, signature)
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def read_payload(token: str) -> bytes:
    """Returns what a token says, whoever has signed it."""
    part = token.split(".")[1]
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def sign_with_public_key(key: PublicKey, payload: bytes) -> str:
    """Returns a token whose secret is a key that everybody knows (RFC 8725, section 2.1)."""
    signed = forge({"alg": "HS256", "kid": key.kid, "typ": "graywave-offer"}, payload).rpartition(".")[0]
    secret = base64.urlsafe_b64decode(key.jwk()["x"] + "=")
    digest = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def forge_offers(town: Town, update: Mapping[str, Any]) -> dict[str, str]:
    """Returns offers that nobody with an offer key has signed, by how they were made."""
    key = town.keys.keys["offer"][0].public
    payload = read_payload(update["offer"])
    offer = town.offer(town.packages[update["version"]])
    header = {"alg": "Ed25519", "kid": key.kid, "typ": "graywave-offer"}
    head, _, signature = update["offer"].split(".")
    return {
        "a stranger's key": sign_offer(offer, STRANGER),
        "the packager's key": sign_offer(offer, town.keys.keys["package"][0]),
        "the channel's key": sign_offer(offer, town.keys.keys["channel"][0]),
        "no signature": forge(header, payload),
        "no algorithm": forge({**header, "alg": "none"}, payload),
        "a public key as a secret": sign_with_public_key(key, payload),
        "a key of its own in the header": forge({**header, "jwk": STRANGER.public.jwk()}, payload, bytes(64)),
        "another payload": f"{head}.{forge({}, payload.replace(b'install', b'install ')).split('.')[1]}.{signature}",
        "a package signature": update["signature"],
        "many signatures by nobody": " ".join(sign_offer(offer, STRANGER) for _ in range(3)),
        "nothing": "",
    }


FORGERIES = (
    "a stranger's key", "the packager's key", "the channel's key", "no signature", "no algorithm",
    "a public key as a secret", "a key of its own in the header", "another payload", "a package signature",
    "many signatures by nobody", "nothing",
)  # fmt: skip


@pytest.mark.parametrize("forgery", FORGERIES)
def test_arbitrary_software_under_a_forged_offer(town: Town, victim: Victim, forgery: str) -> None:
    """A genuine package that nobody has offered is not installed."""
    update = town.tell(town.pack())
    town.tamper = answer_with(change(update, offer=forge_offers(town, update)[forgery]))
    victim.refuses("offer_refused")
    victim.recovers()


def test_every_forgery_is_tried(town: Town) -> None:
    """No forgery is left out of the test above."""
    assert tuple(forge_offers(town, town.tell(town.pack()))) == FORGERIES


def test_arbitrary_software_by_a_stranger(town: Town, victim: Victim) -> None:
    """A package that no packager has signed is not installed, though it is called as a genuine one is."""
    genuine = town.pack()
    evil = town.pack(genuine.claim.version, {"app.js": b"steal()"}, signers=[STRANGER])
    update = town.tell(genuine)
    town.tamper = answer_with(
        change(update, **{name: town.tell(evil)[name] for name in ("sha256", "size", "signature", "transfers")})
    )
    victim.refuses("offer_refused")
    town.tamper = answer_with(change(update, signature=evil.signature))
    victim.refuses("package_refused")
    town.tamper = replace_file(genuine.full, evil.full.content)
    town.updates[PROGRAM] = update
    victim.refuses("transfer_refused")
    victim.recovers()


def test_rollback_by_an_old_answer(town: Town, victim: Victim) -> None:
    """An answer that was true once is stale: nothing fails, nothing is reported, nothing goes back."""
    first = town.pack()
    old = town.tell(first)
    victim.takes(first)
    victim.takes(town.pack())
    town.tamper = answer_with(old)
    victim.ignores()
    victim.recovers()


def test_rollback_under_another_name(town: Town, victim: Victim) -> None:
    """An edge that calls an old install a rollback, or today's, is refused: the offer says what it is."""
    old = town.tell(town.packages[victim.version])
    victim.takes(town.pack())
    town.tamper = answer_with(change(old, action="rollback"))
    victim.refuses("offer_refused")
    newest = town.tell(town.pack())
    town.tamper = answer_with(change(old, offer=newest["offer"]))
    victim.refuses("offer_refused")
    victim.recovers()


def test_rollback_by_a_removal_from_the_past(town: Town, victim: Victim) -> None:
    """A program that was taken down once, and released again, is not taken down by the old word."""
    removal = town.tell_removal()
    victim.takes(town.pack())
    town.tamper = answer_with(removal)
    victim.ignores()
    victim.recovers()


def test_freeze_by_an_answer_that_has_expired(town: Town, victim: Victim) -> None:
    """What was offered and has run out is not installed."""
    frozen = town.tell(town.pack())
    town.time += 30 * DAY
    town.tamper = answer_with(frozen)
    victim.refuses("offer_expired")
    victim.recovers()


def test_freeze_of_a_device_whose_clock_was_set_back(town: Town, victim: Victim) -> None:
    """A device whose clock was set back knows the time from whatever was signed, of other programs too."""
    frozen = town.tell(town.pack())
    town.time += 30 * DAY
    town.skew = -10 * YEAR
    town.publish(town.pack(program=OTHER_PROGRAM))
    assert [outcome.status for outcome in victim.container.update([OTHER_PROGRAM])] == ["activated"]
    town.tamper = answer_with(frozen)
    victim.refuses("offer_expired")
    victim.recovers()


def test_freeze_of_a_device_that_has_nothing(town: Town) -> None:
    """A new device is not given what has run out."""
    old = town.tell(town.pack())
    town.time += 30 * DAY
    town.tamper = answer_with(old)
    victim = Victim(town)
    outcome = victim.update()
    assert outcome
    assert isinstance(outcome.error, VerificationError)
    assert (outcome.status, outcome.error.reason, victim.version) == ("failed", "offer_expired", "")
    victim.recovers()


@pytest.mark.parametrize("told", [{"revision": 2**53 - 1}, {"revision": 2**62}, {"revision": 10**40}])
def test_fast_forward_by_an_answer_that_nobody_has_signed(town: Town, victim: Victim, told: dict[str, int]) -> None:
    """Numbers beside the offers are nobody's word: an answer full of the highest is forgotten at once."""
    town.tamper = answer_with(**told)
    town.publish(town.pack())
    try:
        assert victim.update() is None
    finally:
        victim.recovers()


@pytest.mark.parametrize("number", [2**53 - 1, 10**9, 5])
def test_fast_forward_by_roots_that_are_not_there(town: Town, victim: Victim, number: int) -> None:
    """An edge that names a root of the far future keeps no device busy, and no update away."""
    update = town.tell(town.pack())
    town.tamper = answer_with(update, root=number)
    outcome = victim.update()
    assert len(town.requests) <= MAX_ROOT_REQUESTS
    assert outcome is None or outcome.status == "activated"
    victim.recovers()


@pytest.mark.parametrize("forger", ["a stranger", "the same again", "another workspace", "noise"])
def test_arbitrary_software_by_a_forged_root(town: Town, victim: Victim, forger: str) -> None:
    """A root document that the pinned root's keys have not signed gives nobody's keys a role."""
    evil = Keyring()
    evil.keys["package"] = town.keys.keys["package"]
    document = {
        "a stranger": lambda: evil.draw_up(2),
        "the same again": lambda: town.keys.documents[0],
        "another workspace": lambda: town.keys.draw_up(2, workspace="other", offer=evil.keys["offer"]),
        "noise": lambda: b'{"payload":"x","signatures":[]}',
    }[forger]()
    update = town.tell(town.pack(), signers=evil.keys["offer"])

    def tamper(request: Request, reply: Reply) -> Reply:
        if request.path.startswith("/v1/root/"):
            return Reply(200, document)
        return make_answer([update], root=2) if request.path == "/v1/check" else reply

    town.tamper = tamper
    victim.refuses("offer_refused", "root_refused")
    assert any(request.path.startswith("/v1/root/2") for request in town.requests)
    victim.recovers()


MIXED = ("version", "sha256", "size", "signature", "offer", "transfers")


@pytest.mark.parametrize("members", [(one,) for one in MIXED] + list(itertools.combinations(MIXED, 5)), ids=" ".join)
def test_mix_and_match_of_two_genuine_versions(town: Town, victim: Victim, members: tuple[str, ...]) -> None:
    """Parts of two updates, each genuine, make no third."""
    one, other = town.tell(town.pack()), town.tell(town.pack())
    mixed = change(one, **{name: other[name] for name in members})
    assert mixed not in (one, other)
    town.tamper = answer_with(mixed)
    victim.refuses("offer_refused", "package_refused", "no_transfer")
    victim.recovers()


def test_mix_and_match_of_old_and_new_programs(town: Town) -> None:
    """Of two programs in one answer the old one is stale, and the new one is brought: each stands for itself."""
    victim = make_victim(town)
    stale = town.tell(town.packages[victim.version], revision=1, told={})
    victim.takes(town.pack())
    new = town.tell(town.pack(program=OTHER_PROGRAM))
    town.tamper = answer_with(stale, new)
    outcomes = victim.container.update([PROGRAM, OTHER_PROGRAM])
    assert [outcome.status for outcome in outcomes] == ["stale", "activated"]
    assert victim.opens() == "1.1"
    victim.recovers()


def test_wrong_software_of_another_program(town: Town, victim: Victim) -> None:
    """A genuine package of another program is not installed in this one's place, whatever it is called."""
    other = town.tell(town.pack(program=OTHER_PROGRAM))
    town.tamper = answer_with(change(other, program=PROGRAM))
    victim.refuses("offer_refused")
    town.tamper = answer_with(change(town.tell(town.pack()), signature=other["signature"]))
    victim.refuses("package_refused")
    victim.recovers()


def test_wrong_software_of_another_workspace(town: Town, victim: Victim) -> None:
    """What the same keys have signed for another workspace, such as a test environment, is not installed here."""
    foreign = town.pack(workspace="staging")
    town.tamper = answer_with(town.tell(foreign, workspace="staging"))
    victim.refuses("offer_refused")
    ours = town.pack()
    town.tamper = answer_with(
        change(town.tell(ours), signature=resign(ours, *town.keys.keys["package"], workspace="staging"))
    )
    victim.refuses("package_refused")
    victim.recovers()


def test_extraneous_programs(town: Town, victim: Victim) -> None:
    """An answer brings nothing that was not asked for, though it is genuine; nor one program twice."""
    extra = town.tell(town.pack(program=OTHER_PROGRAM))
    update = town.tell(town.pack())
    for updates in ([update, extra], [extra], [update, update]):
        town.tamper = answer_with(*updates)
        victim.refuses("edge")
        assert victim.container.active(OTHER_PROGRAM) is None
    victim.recovers()


def test_extraneous_transfers(town: Town, victim: Victim) -> None:
    """Ways to get a package that are not in its offer are passed over, and nobody is asked for them."""
    package, evil = town.pack(), town.pack(files={"app.js": b"steal()"}, signers=[STRANGER])
    update = town.tell(package)
    told = [evil.full.tell(), {**evil.full.tell(), "url": "http://evil.test/x"}]
    town.tamper = answer_with(change(update, transfers=told))
    victim.refuses("no_transfer")
    town.tamper = answer_with(change(update, transfers=told + update["transfers"]))
    outcome = victim.update()
    assert outcome
    assert outcome.status == "activated"
    assert victim.opens() == package.claim.version
    assert not any(evil.full.sha256 in request.path or "evil" in request.base for request in town.requests)
    victim.recovers()


def lie_at(base: str, lie: Reply) -> Any:
    """One of several edges that is hostile: it answers every check with this."""

    def tamper(request: Request, reply: Reply) -> Reply:
        return lie if request.base == base and request.path == "/v1/check" else reply

    return tamper


def list_lies(town: Town) -> dict[str, Reply]:
    """Returns what a hostile edge answers, by what it is."""
    old, new = town.tell(town.packages["1.0"]), town.tell(town.pack())
    return {
        "an error": refuse(500, "internal_error"),
        "a refusal": refuse(404, "unknown_workspace"),
        "leave me alone": refuse(503, "overloaded", retry_after="99999999999"),
        "noise": Reply(200, b"\xff" * 100),
        "a forged offer": make_answer([change(new, offer="e30.e30.e30")]),
        "a forged package": make_answer([change(new, signature="e30.e30.e30")]),
        "an old answer": make_answer([old]),
        "no transfer": make_answer([change(new, transfers=[])]),
    }


LIES = (
    "an error", "a refusal", "leave me alone", "noise", "a forged offer", "a forged package", "an old answer",
    "no transfer",
)  # fmt: skip


@pytest.mark.parametrize("name", LIES)
def test_malicious_mirror(town: Town, name: str) -> None:
    """One hostile edge of two keeps no device from the other: the second update at the latest is an honest one."""
    victim = make_victim(town, EDGE, MIRROR)
    lies = list_lies(town)
    assert tuple(lies) == LIES
    newest = town.pack()
    town.publish(newest)
    town.tamper = lie_at(EDGE, lies[name])
    versions = []
    for _ in range(2):
        town.time += 1
        with suppress(ContainerError):
            victim.update()
        versions.append(victim.opens())
    assert versions[-1] == newest.claim.version, versions
    victim.recovers()


def test_malicious_mirror_that_asks_to_wait_for_ever(town: Town, victim: Victim) -> None:
    """The only edge there is can keep a device away for a day and no longer."""
    town.tamper = lambda _, __: refuse(503, "overloaded", retry_after=str(100 * YEAR))
    victim.refuses("network")
    town.tamper = be_honest
    town.time += DAY + 1
    victim.recovers()


@pytest.mark.parametrize("poll_after", [10**9, -1, 2**63])
def test_freeze_by_a_poll_interval(town: Town, victim: Victim, poll_after: int) -> None:
    """An edge can not make a device come back in a hundred years."""
    town.tamper = answer_with(poll_after=poll_after)
    victim.refuses("edge")
    victim.recovers()


JUNK = (
    b"", b"null", b"[]", b"{}", b"\x00" * 1000, b"[" * 100_000, b'{"revision":1,"poll_after":1,"updates":[{}]}',
    b'{"revision":1,"poll_after":1,"updates":' + b"[" * 5000 + b"]" * 5000 + b"}", b'{"revision":1e400,"poll_after":1}',
    b'{"revision":1,"poll_after":1,"updates":[{"program":"../../x","action":"install","offer":""}]}',
)  # fmt: skip


@pytest.mark.parametrize("body", JUNK, ids=range(len(JUNK)))
def test_answer_that_is_none(town: Town, victim: Victim, body: bytes) -> None:
    """Whatever an edge sends instead of an answer is an error of the edge."""
    town.tamper = lambda request, reply: Reply(200, body) if request.path == "/v1/check" else reply
    victim.refuses("edge")
    victim.recovers()


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "//evil.test/x",
        "ftp://evil.test/x",
        "",
        "../../x",
        "http://[",
        "http://",
        "https://a:b:c/",
    ],
)
def test_transfer_from_nowhere(town: Town, victim: Victim, url: str) -> None:
    """A transfer is fetched over http(s), and nothing else is opened."""
    package = town.pack()
    town.tamper = answer_with(change(town.tell(package), transfers=[{**package.full.tell(), "url": url}]))
    victim.refuses("edge", "network")
    victim.recovers()
