"""Attackers who hold some keys of a role whose threshold is above one, or keys that were taken out of their role.

TUF's name: key compromise below threshold.
"""

import json
from collections.abc import Callable

import pytest

from container import ConfigError, read_config
from tests.attacks.harness import (
    DAY,
    STRANGER,
    Keyring,
    Reply,
    Request,
    Town,
    Victim,
    answer_with,
    change,
    make_answer,
    make_victim,
)
from trust import (
    ClientClaim,
    PrivateKey,
    RootError,
    add_root_signature,
    draft_root,
    sign_client,
    sign_offer,
    sign_package,
)

TWO_OF_THREE = {"root": 2, "package": 2, "offer": 2}


@pytest.fixture
def guarded(town: Town) -> Town:
    """A workspace in which root, packages and offers each want two of three keys."""
    town.keys = Keyring(TWO_OF_THREE)
    for role in TWO_OF_THREE:
        town.keys.keys[role].append(PrivateKey.generate())
    town.keys.documents = [town.keys.draw_up(1)]
    return town


def keys_of(town: Town, role: str) -> list[PrivateKey]:
    """Returns the three keys of a role."""
    return town.keys.keys[role]


SIGNERS: dict[str, Callable[[list[PrivateKey]], list[PrivateKey]]] = {
    "one": lambda keys: keys[:1],
    "one, twice": lambda keys: [keys[0], keys[0]],
    "one, eight times": lambda keys: [keys[0]] * 8,
    "one and a stranger": lambda keys: [keys[0], STRANGER],
    "strangers": lambda _: [STRANGER, PrivateKey.generate()],
}


@pytest.mark.parametrize("name", SIGNERS)
def test_package_key_below_threshold(guarded: Town, name: str) -> None:
    """One of the two keys that a package wants signs nothing that is installed, however often it signs."""
    victim = make_victim(guarded)
    guarded.publish(guarded.pack(files={"app.js": b"steal()"}, signers=SIGNERS[name](keys_of(guarded, "package"))))
    victim.refuses("package_refused")
    victim.recovers()


@pytest.mark.parametrize("name", SIGNERS)
def test_offer_key_below_threshold(guarded: Town, name: str) -> None:
    """One of the two keys that an offer wants offers nothing, and takes nothing down."""
    victim = make_victim(guarded)
    signers = SIGNERS[name](keys_of(guarded, "offer"))
    for update in (guarded.tell(guarded.pack(), signers=signers), guarded.tell_removal(signers)):
        guarded.tamper = answer_with(update)
        victim.refuses("offer_refused")
    victim.recovers()


def test_signatures_by_one_key_over_two_claims(guarded: Town) -> None:
    """Two packagers who have each signed another package have together signed none."""
    victim = make_victim(guarded)
    one, other = keys_of(guarded, "package")[:2]
    evil, genuine = guarded.pack(files={"app.js": b"steal()"}, signers=[one]), guarded.pack(signers=[other])
    stolen = [token.split(" ")[0] for token in (evil.signature, genuine.signature)]
    for package in (evil, genuine):
        for tokens in (stolen, stolen[::-1]):
            guarded.tamper = answer_with(guarded.tell(package, told={"signature": " ".join(tokens)}))
            victim.refuses("package_refused")
    victim.recovers()


def test_signature_that_is_wrong_among_enough(guarded: Town) -> None:
    """A wrong signature by a key of the role is an alarm, and not passed over."""
    victim = make_victim(guarded)
    package = guarded.pack(signers=keys_of(guarded, "package"))
    first, *rest = package.signature.split(" ")
    spoiled = first[:-2] + ("AA" if first[-2:] != "AA" else "BA")
    guarded.tamper = answer_with(guarded.tell(package, told={"signature": " ".join([spoiled, *rest])}))
    victim.refuses("package_refused")
    victim.recovers()


def test_enough_keys_of_three(guarded: Town) -> None:
    """Any two of the three do: the guard refuses thieves, and nobody else."""
    victim = make_victim(guarded)
    first, second, third = keys_of(guarded, "package")
    for signers in ([first, second], [third, first], [second, third, first]):
        victim.takes(guarded.pack(signers=signers))


def serve_root(document: bytes, update: dict[str, object], number: int = 2) -> Callable[[Request, Reply], Reply]:
    """An edge that tells of one root and one update."""

    def tamper(request: Request, reply: Reply) -> Reply:
        if request.path == "/v1/check":
            return make_answer([update], root=number)
        return Reply(200, document) if request.path.startswith("/v1/root/") else reply

    return tamper


def forge_root(town: Town, signers: list[PrivateKey], thief: PrivateKey, number: int = 2) -> bytes:
    """Returns a root in which all roles are the thief's, signed by the thief's key and whatever was stolen."""
    roles = {name: [thief.public] for name in ("root", "package", "offer", "channel")}
    document = draft_root("demo", number, int(town.time) + 900 * DAY, roles, epoch=1)
    for signer in [thief, *signers]:
        document = add_root_signature(document, signer)
    return document


@pytest.mark.parametrize("name", SIGNERS)
def test_root_key_below_threshold(guarded: Town, name: str) -> None:
    """One of the two root keys makes no root: the thief's keys get no role, and the true next root is followed."""
    victim = make_victim(guarded)
    thief = PrivateKey.generate()
    document = forge_root(guarded, SIGNERS[name](keys_of(guarded, "root")), thief)
    evil = guarded.pack(files={"app.js": b"steal()"}, signers=[thief])
    guarded.tamper = serve_root(document, guarded.tell(evil, signers=[thief]))
    victim.refuses("offer_refused", "root_refused")
    guarded.keys.rotate("root", "package", "offer")
    victim.recovers()
    victim.restart()
    victim.recovers()


def test_root_key_below_threshold_that_lowers_it(guarded: Town) -> None:
    """A root that wants one key from now on is itself a root that two have to sign."""
    victim = make_victim(guarded)
    first = keys_of(guarded, "root")[0]
    guarded.keys.thresholds = dict.fromkeys(guarded.keys.thresholds, 1)
    document = guarded.keys.draw_up(2, [first])
    evil = guarded.pack(files={"app.js": b"steal()"}, signers=keys_of(guarded, "package")[:1])
    guarded.tamper = serve_root(document, guarded.tell(evil, signers=keys_of(guarded, "offer")[:1]))
    victim.refuses("offer_refused", "root_refused")
    guarded.keys.thresholds |= TWO_OF_THREE
    victim.recovers()


def test_new_root_that_the_old_keys_have_not_signed(guarded: Town) -> None:
    """New keys alone make no root, though there are enough of them."""
    victim = make_victim(guarded)
    others = Keyring(TWO_OF_THREE)
    evil = guarded.pack(files={"app.js": b"steal()"}, signers=others.keys["package"])
    guarded.tamper = serve_root(others.draw_up(2), guarded.tell(evil, signers=others.keys["offer"]))
    victim.refuses("offer_refused", "root_refused")
    victim.recovers()


@pytest.mark.parametrize("change_root", ["skips a number", "again the first", "a lower epoch"])
def test_root_out_of_its_order(town: Town, change_root: str) -> None:
    """Even true root keys, stolen later, bring no root out of its order: each follows the one before it."""
    victim = make_victim(town)
    town.keys.rotate("offer", new_epoch=True)
    victim.recovers()
    old_offer_key = PrivateKey.generate()
    town.keys.epoch -= change_root == "a lower epoch"
    number = {"skips a number": 4, "again the first": 1, "a lower epoch": 3}[change_root]
    document = town.keys.draw_up(number, offer=[old_offer_key])
    town.keys.epoch += change_root == "a lower epoch"
    update = town.tell(town.pack(), signers=[old_offer_key])
    town.tamper = serve_root(document, update, number=3)
    victim.refuses("offer_refused", "root_refused")
    victim.recovers()


@pytest.mark.parametrize("role", ["offer", "package"])
def test_key_that_was_revoked(town: Town, victim: Victim, role: str) -> None:
    """A key that the newest root does not name signs nothing more, after a restart and by an old answer neither."""
    stolen = town.keys.keys[role]
    town.keys.rotate(role)
    victim.recovers()
    signers = {role: stolen}
    evil = town.pack(files={"app.js": b"steal()"}, signers=signers.get("package"))
    update = town.tell(evil, signers=signers.get("offer"))
    for number in (2, 1):
        town.tamper = answer_with(update, root=number)
        victim.refuses(f"{role}_refused")
        victim.restart()
    victim.recovers()


def test_all_keys_are_changed_many_times(town: Town, victim: Victim) -> None:
    """A device that was away while every key changed, again and again, follows root by root with its old app."""
    for _ in range(10):
        town.keys.rotate("root", "package", "offer", "channel")
    victim.recovers()
    victim.restart()
    victim.recovers()


def test_configuration_by_somebody_else(town: Town) -> None:
    """A configuration that the root's keys have not signed starts no container."""
    claim = ClientClaim(workspace="demo", issued=int(town.time), edges=("http://evil.test",))
    form = {"format": 1, "roots": [json.loads(town.keys.documents[0])], "client": sign_client(claim, STRANGER)}
    with pytest.raises(ConfigError):
        read_config(json.dumps(form).encode())


def test_root_that_nobody_could_draw_up(town: Town) -> None:
    """Our own code hands out no root that would not be believed."""
    with pytest.raises(RootError):
        town.keys.draw_up(2, [STRANGER])


def test_signature_of_another_kind(town: Town, victim: Victim) -> None:
    """A packager's signature is no offer and a publisher's no package, though one key should have both roles."""
    package = town.pack()
    offer = town.offer(package)
    key = PrivateKey.generate()
    town.keys.keys |= {"package": [key], "offer": [key]}
    town.keys.rotate()
    swapped = {"offer": sign_package(package.claim, key), "signature": sign_offer(offer, key)}
    town.tamper = answer_with(change(town.tell(package), **swapped), root=2)
    victim.refuses("offer_refused")
    victim.recovers()
