"""Attackers who hold the publisher's keys (offer and channel), every edge and the CDN, and no packager's key.

They choose among what packagers have signed, and nothing else ever runs. What they can do to the order of things ends
with a root of the next epoch, which root keys sign; no device needs a new host app for it.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from typing import Any

import msgspec
import pytest

from bundle import compress, make_seal_key
from container import ContainerError, FloorError
from tests.attacks.harness import (
    DAY,
    EDGE,
    PROGRAM,
    STRANGER,
    YEAR,
    Keyring,
    Package,
    Parcel,
    Town,
    Victim,
    answer_with,
    be_honest,
    make_tar,
    make_victim,
    resign,
)
from trust import ClaimError, PrivateKey, TransferClaim, sign

MAX_INTEGER = 2**53 - 1
EVIL = {"app.js": b"steal()"}


def publisher_keys(town: Town) -> dict[str, PrivateKey]:
    """Returns the keys that a publisher holds, and one of the thief's own."""
    return {**{role: town.keys.keys[role][0] for role in ("offer", "channel")}, "stranger": STRANGER}


@pytest.mark.parametrize("role", ["offer", "channel", "stranger"])
def test_arbitrary_software_signed_by_a_publisher(town: Town, victim: Victim, role: str) -> None:
    """A package signed with any key that a publisher holds is none: every way to move it is refused."""
    evil = town.pack(files=EVIL, base=town.packages[victim.version], signers=[publisher_keys(town)[role]])
    town.publish(evil)
    victim.refuses("package_refused")
    assert not any(request.method == "GET" for request in town.requests), "not even fetched"
    victim.recovers()


def test_arbitrary_software_under_a_genuine_signature(town: Town, victim: Victim) -> None:
    """A genuine package's signature covers no other bytes: digest, size and bytes have to be those that were signed."""
    genuine, evil = town.pack(), town.pack(files=EVIL, signers=[STRANGER])
    told = {name: town.tell(evil)[name] for name in ("sha256", "size", "transfers")}
    disguise = {"version": genuine.claim.version, "signature": genuine.signature}
    town.tamper = answer_with(town.tell(evil, told=disguise, version=genuine.claim.version))
    victim.refuses("package_refused")
    town.tamper = answer_with(town.tell(genuine, told={"transfers": told["transfers"]}, transfers=claims(evil.full)))
    victim.refuses("transfer_refused")
    victim.recovers()


def claims(*parcels: Parcel) -> tuple[TransferClaim, ...]:
    """Returns what an offer says of parcels."""
    return tuple(parcel.claim() for parcel in parcels)


def list_carriers(town: Town, genuine: Package, base: Package) -> dict[str, Parcel]:
    """Returns ways to bring other bytes than the packager's as a genuine package, each properly offered."""
    # As proper as the genuine one, and of its size: nothing but the digest tells them apart.
    tar = make_tar({name: body.swapcase() for name, body in genuine.files.items()})
    assert len(tar) == len(genuine.tar)
    longer, shorter = genuine.tar + bytes(512), genuine.tar[:-512]
    return {
        "full": wrap(tar),
        "full, longer": wrap(longer),
        "full, shorter": wrap(shorter),
        "two frames": Parcel("zstd", wrap(genuine.tar).content * 2),
        "frame and noise": Parcel("zstd", wrap(genuine.tar).content + b"x"),
        "no frame": Parcel("zstd", genuine.tar),
        "nothing but a frame": Parcel("zstd", b"\x28\xb5\x2f\xfd"),
        "delta": Parcel("dcz", town.make_delta(base.tar, tar), base),
        "delta, longer": Parcel("dcz", town.make_delta(base.tar, longer), base),
        "delta of another tar": Parcel("dcz", town.make_delta(longer, genuine.tar), base),
        "delta that is full": Parcel("dcz", wrap(genuine.tar).content, base),
    }


def wrap(tar: bytes) -> Parcel:
    """Returns the one parcel of a tar, full and not sealed."""
    return Parcel("zstd", b"".join(compress([tar], len(tar), 1)))


CARRIERS = (
    "full", "full, longer", "full, shorter", "two frames", "frame and noise", "no frame", "nothing but a frame",
    "delta", "delta, longer", "delta of another tar", "delta that is full",
)  # fmt: skip


@pytest.mark.parametrize("is_sealed", [False, True], ids=["clear", "sealed"])
@pytest.mark.parametrize("name", CARRIERS)
def test_arbitrary_software_in_an_offered_transfer(town: Town, victim: Victim, name: str, *, is_sealed: bool) -> None:
    """What is unpacked has to be the tar that the packager signed, however it came."""
    base, genuine = town.packages[victim.version], town.pack()
    carriers = list_carriers(town, genuine, base)
    assert tuple(carriers) == CARRIERS
    parcel, told = carriers[name], dict[str, Any]()
    if is_sealed:
        told["key"] = make_seal_key()
        parcel = Parcel(parcel.format, town.seal(parcel.content, told["key"]), parcel.base)
    town.offer_files(parcel)
    town.tamper = answer_with(town.tell(genuine, told={**told, "transfers": [parcel.tell()]}, transfers=claims(parcel)))
    victim.refuses("transfer_refused")
    victim.recovers()


def test_rollback_called_an_install(town: Town, victim: Victim) -> None:
    """An offer to install goes up and nowhere else."""
    old = town.packages[victim.version]
    victim.takes(town.pack())
    town.tamper = answer_with(town.tell(old))
    victim.refuses("offer_refused")
    victim.recovers()


def test_rollback_to_a_genuine_version(town: Town, victim: Victim) -> None:
    """What a publisher may do, its thief may: choose an older genuine package, or none, until the next honest word."""
    old = town.packages[victim.version]
    victim.takes(town.pack())
    town.publish(old, "rollback")
    victim.update()
    assert victim.opens() == old.claim.version
    town.tamper = answer_with(town.tell_removal())
    victim.update()
    assert victim.version == ""
    victim.recovers()


@pytest.mark.parametrize("member", ["revision", "epoch", "issued", "expires"])
@pytest.mark.parametrize("number", [MAX_INTEGER + 1, 2**62, 2**64, -1])
def test_fast_forward_beyond_bounds(town: Town, victim: Victim, member: str, number: int) -> None:
    """Numbers that do not survive JSON everywhere, such as revision 2^62, are not even read."""
    package = town.pack()
    with pytest.raises((ClaimError, ValueError)):
        town.tell(package, **{member: number})
    town.tamper = answer_with(town.tell(package, told={"offer": forge_offer(town, package, **{member: number})}))
    victim.refuses("offer_refused")
    victim.recovers()


def forge_offer(town: Town, package: Package, **members: int) -> str:
    """Returns an offer that our own code would not sign, under the publisher's true key."""
    claim = {**msgspec.to_builtins(town.offer(package)), **members}
    return sign(json.dumps(claim).encode(), town.keys.keys["offer"][0], "graywave-offer")


def test_fast_forward_to_the_highest_epoch(town: Town, victim: Victim) -> None:
    """An offer of an epoch that no root has opened is refused, and nothing of it is remembered."""
    for epoch in (town.keys.epoch + 1, MAX_INTEGER):
        town.tamper = answer_with(town.tell(town.pack(), epoch=epoch))
        victim.refuses("offer_refused")
    victim.recovers()


def steal_and_sign(town: Town, victim: Victim, **members: Any) -> None:
    """The thief has every device take a genuine package under an offer with these members."""
    package = town.pack()
    town.tamper = answer_with(town.tell(package, **members))
    outcome = victim.update()
    assert outcome
    assert outcome.status == "activated"
    assert victim.opens() == package.claim.version
    town.tamper = be_honest


def reset_epoch(town: Town) -> None:
    """The runbook's step: root keys sign a root of the next epoch, with new keys for the publisher."""
    town.keys.rotate("offer", "channel", new_epoch=True)


def test_fast_forward_to_the_highest_revision(town: Town, victim: Victim) -> None:
    """After the highest revision nothing is newer, until a root of the next epoch: then every device goes on."""
    steal_and_sign(town, victim, revision=MAX_INTEGER)
    town.publish(town.pack())
    victim.ignores()
    stolen = town.keys.keys["offer"]
    reset_epoch(town)
    victim.recovers()
    town.tamper = answer_with(town.tell(town.pack(), signers=stolen, revision=MAX_INTEGER, epoch=1), root=2)
    victim.refuses("offer_refused")
    victim.recovers()


def test_fast_forward_of_a_device_that_comes_late(town: Town) -> None:
    """A device that pins the first root, and meets the thief's word first, goes on as well, after a restart too."""
    victim = make_victim(town)
    thief = town.tell(town.pack(), revision=MAX_INTEGER)
    reset_epoch(town)
    town.tamper = answer_with(thief, root=1)
    victim.update()
    victim.opens()
    victim.restart()
    victim.recovers()
    victim.restart()
    assert victim.opens() == "1.2"


@pytest.mark.parametrize("issued", [MAX_INTEGER - 1, "in three years"])
def test_fast_forward_of_time(town: Town, issued: int | str) -> None:
    """A signed time of the far future makes every offer look expired, until a root of the next epoch."""
    town.keys = Keyring(expires=int(town.time) + 20 * YEAR)
    victim = make_victim(town)
    moment = int(town.time) + 3 * YEAR if isinstance(issued, str) else issued
    town.tamper = answer_with(town.tell(town.pack(), issued=moment, expires=moment + 1))
    victim.update()
    town.tamper = be_honest
    town.publish(town.pack())
    with suppress(ContainerError):
        victim.update()
    assert victim.opens() != town.updates[PROGRAM]["version"], "or there is nothing to recover from"
    reset_epoch(town)
    victim.recovers()
    town.time += DAY
    victim.recovers()


def test_floor_above_everything(town: Town, victim: Victim) -> None:
    """A floor that no version reaches closes a program, as a publisher may; the next honest word opens it again."""
    package = town.pack()
    town.tamper = answer_with(town.tell(package, floor="65535.65535.65535.65535"))
    victim.update()
    with pytest.raises(FloorError):
        victim.container.open(PROGRAM)
    victim.recovers()


def test_floor_that_only_a_new_epoch_takes_away(town: Town, victim: Victim) -> None:
    """A thief's floor on a device that has the newest version, of which no edge tells anything, ends with it."""
    steal_and_sign(town, victim, revision=MAX_INTEGER - 1)
    newest = victim.version
    town.tamper = answer_with(town.tell(town.packages[newest], revision=MAX_INTEGER, floor="65535.65535.65535.65535"))
    victim.update()
    town.tamper = be_honest
    reset_epoch(town)
    town.publish(town.packages[newest])
    victim.update()
    assert victim.opens() == newest
    victim.recovers()


@pytest.mark.parametrize("size", [MAX_INTEGER, 2**40])
def test_endless_data_that_was_offered(town: Town, victim: Victim, size: int) -> None:
    """A transfer of an offered size that no disk has is not begun, or ends where no package is larger."""
    package = town.pack()
    sha = sha256(b"never").hexdigest()
    told = {"transfers": [{"format": "zstd", "url": "/v1/files/huge", "size": size, "sha256": sha}]}
    offered = (TransferClaim(format="zstd", size=size, sha256=sha),)
    town.tamper = answer_with(town.tell(package, told=told, transfers=offered))
    victim.refuses("transfer_refused", "no_transfer", "edge")
    assert not any(request.path == "/v1/files/huge" for request in town.requests)
    victim.recovers()


@pytest.mark.parametrize("claim", [{"permissions": {"camera": True}}, {"version": "99.9"}, {"size": 1}])
def test_another_word_about_a_genuine_package(town: Town, victim: Victim, claim: dict[str, Any]) -> None:
    """Permissions, version and size are the packager's word: a publisher's signature over others is none."""
    package = town.pack()
    signature = resign(package, publisher_keys(town)["offer"], **claim)
    town.tamper = answer_with(town.tell(package, told={"signature": signature}))
    victim.refuses("package_refused")
    victim.recovers()


KEYS = ("", "AGE-SECRET-KEY-1", "x" * 74, "AGE-SECRET-KEY-1" + "Q" * 58, "age1" + "q" * 58, "\x00")


@pytest.mark.parametrize("spoil", [lambda _: make_seal_key(), *(lambda _, key=key: key for key in KEYS)])
def test_wrong_key_of_a_sealed_package(town: Town, victim: Victim, spoil: Callable[[str], str]) -> None:
    """A sealed package with another key, or none, is not opened; no key shows in what is said about it."""
    package = town.pack(is_sealed=True)
    update = town.tell(package)
    told = spoil(package.key)
    town.tamper = answer_with({**update, "key": told})
    error = victim.refuses("seal_refused", "transfer_refused", "edge")
    assert package.key not in repr(error) + str(error)
    assert not told or len(told) < 20 or told not in repr(error) + str(error)
    victim.recovers()


def test_key_for_a_package_that_is_not_sealed(town: Town, victim: Victim) -> None:
    """A key beside clear bytes makes nothing else of them."""
    package = town.pack()
    town.tamper = answer_with(town.tell(package, told={"key": make_seal_key()}))
    victim.refuses("seal_refused")
    victim.recovers()


def test_edge_named_by_nobody(town: Town) -> None:
    """Whatever a publisher signs, a device asks the edges of its configuration and the places of believed transfers."""
    victim = make_victim(town, EDGE)
    victim.recovers()
    assert {request.base for request in town.requests} == {EDGE}
