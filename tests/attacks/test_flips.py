"""One byte of something signed is changed, each in turn: nothing of it is ever activated.

Package signature, offer, root document and the app's configuration take the whole way through `Container.update` for
each byte. So does each hundredth byte or so of a package of 70 KB, of its delta of 28 KB, and of both sealed (in two
chunks); the others of these take the part of the way on which it is decided: from the answer of a store to the whole
transfer.
`GRAYWAVE_FLIPS=all` sends every byte of them the whole way, which takes some minutes.
"""

import os
import random
import shutil
import string
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from container import ConfigError, ContainerError, Response, VerificationError, read_config
from container.journey import Journey
from container.part import Part
from container.wire import Transfer
from tests.attacks.harness import (
    EDGE,
    PROGRAM,
    Package,
    Parcel,
    Reply,
    Request,
    Town,
    Victim,
    answer_with,
    change,
    make_answer,
    make_victim,
    replace_file,
    resign,
)
from trust import PrivateKey

IS_WHOLE_WAY = os.environ.get("GRAYWAVE_FLIPS", "") == "all"
# Of a package that cannot be compressed; of how much of it lies in the version before; and of what formats add.
SIZE, SHARED, OVERHEAD = 70_000, 42_000, 1_000
# A prime, so that no structure of a file is always missed.
STRIDE = 1 if IS_WHOLE_WAY else 211
BASE64URL = string.ascii_letters + string.digits + "-_"


def flip(content: bytes, at: int) -> bytes:
    """Returns the bytes with one bit of one of them changed, another one at each place."""
    return content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :]


def flip_text(text: str) -> Iterator[str]:
    """Yields a text with each character changed in turn; also into such as are no ASCII."""
    for at in range(len(text)):
        yield flip(text.encode("ascii"), at).decode("latin-1")


def spell_otherwise(token: str) -> Iterator[str]:
    """Yields tokens that a lenient reader takes for the same bytes: other unused bits, padding, blanks, alphabets."""
    parts = token.split(".")
    for index, part in enumerate(parts):
        others = [part[:-1] + letter for letter in BASE64URL if letter != part[-1]]
        others += [part + "=" * count for count in (1, 2, 3)] + [f" {part}", f"{part}\n", f"{part[:4]}\n{part[4:]}"]
        others += [part[:4] + noise + part[4:] for noise in ("\0", "*", "=", " ", "\u00e9", "\u0430")]
        others += [part.replace("-", "+").replace("_", "/")]
        yield from (".".join([*parts[:index], other, *parts[index + 1 :]]) for other in others if other != part)
    yield from (token + ".", "." + token, token + " ", " " + token, token.upper(), token + "\0", f"{token} {token}x")


class Trial:
    """Updates of one device, again and again, none of which may activate anything."""

    def __init__(self, victim: Victim) -> None:
        self.victim, self._town = victim, victim.town
        self.before = victim.opens()
        self.tried = 0

    def attempt(self) -> None:
        """Updates once; whatever becomes of it, the version before is active."""
        self.tried += 1
        with suppress(ContainerError):
            for outcome in self.victim.container.update([PROGRAM]):
                assert outcome.status in ("failed", "stale")
        active = self.victim.container.active(PROGRAM)
        assert active
        assert active.version == self.before
        self._town.requests.clear()
        self._town.events.clear()

    def end(self) -> None:
        """All was tried, the version before works, and the next honest update does too."""
        assert self.tried > 0
        assert self.victim.opens() == self.before
        self.victim.check_room()
        self.victim.recovers()


@pytest.fixture
def trial(victim: Victim) -> Trial:
    """Updates that shall all be refused."""
    return Trial(victim)


def try_each(town: Town, trial: Trial, updates: Iterator[Mapping[str, Any]]) -> None:
    """Lets an edge tell of one update after the other."""
    for update in updates:
        town.tamper = answer_with(update)
        trial.attempt()
    trial.end()


@pytest.mark.parametrize("member", ["signature", "offer"])
@pytest.mark.parametrize("spoil", [flip_text, spell_otherwise], ids=["flipped", "spelled otherwise"])
@pytest.mark.parametrize("algorithm", ["Ed25519", "ES256"])
def test_every_byte_of_a_signature(
    town: Town, member: str, spoil: Callable[[str], Iterator[str]], algorithm: Any
) -> None:
    """A package signature or an offer with any one byte changed, or spelled in any other way, is refused."""
    town.keys.keys |= {role: [PrivateKey.generate(algorithm)] for role in ("package", "offer")}
    town.keys.documents = [town.keys.draw_up(1)]
    trial = Trial(make_victim(town))
    update = town.tell(town.pack())
    try_each(town, trial, (change(update, **{member: token}) for token in spoil(update[member])))


def test_every_byte_of_a_signature_by_two(town: Town) -> None:
    """Where two keys have to sign, a byte of either signature is enough to refuse both."""
    town.keys.thresholds["package"] = 2
    town.keys.keys["package"].append(PrivateKey.generate())
    town.keys.documents = [town.keys.draw_up(1)]
    trial = Trial(make_victim(town))
    update = town.tell(town.pack())
    try_each(town, trial, (change(update, signature=token) for token in flip_text(update["signature"])))


def test_every_byte_of_a_root(town: Town, trial: Trial) -> None:
    """A root document with any one byte changed gives no key a role."""
    first = town.keys.documents[0]
    town.keys.rotate("root", "offer", "package")
    document = town.keys.documents[1]
    update = town.tell(town.pack())
    for at in range(len(document)):
        town.tamper = serve(flip(document, at), update)
        trial.attempt()
    town.tamper = serve(document, update)
    assert [outcome.status for outcome in trial.victim.container.update([PROGRAM])] == ["activated"]
    assert first == town.keys.documents[0]
    trial.victim.recovers()


def serve(document: bytes, update: Mapping[str, Any]) -> Callable[[Request, Reply], Reply]:
    """An edge that tells of a root and an update under its keys."""

    def tamper(request: Request, reply: Reply) -> Reply:
        if request.path.startswith("/v1/root/"):
            return Reply(200, document)
        return make_answer([update], root=2) if request.path == "/v1/check" else reply

    return tamper


def test_every_byte_of_the_configuration(town: Town) -> None:
    """A configuration with any one byte changed starts no container."""
    data = town.keys.write_configuration(EDGE)
    assert read_config(data).edges == (EDGE,)
    for at in range(len(data)):
        with pytest.raises(ConfigError):
            read_config(flip(data, at))


@dataclass(frozen=True)
class Form:
    """A file of 100 KB by which a package moves, the package, and the way an edge tells of it."""

    package: Package
    parcel: Parcel
    update: Mapping[str, Any]


FORMS = ("package", "delta", "sealed package", "sealed delta")


def make_form(victim: Victim, name: str) -> Form:
    """Returns a file of a form, the only way to get a package of SIZE; a delta's base, with SHARED of it, is active."""
    town = victim.town
    noise = random.Random(7).randbytes(SIZE)
    base = None
    if "delta" in name:
        base = town.pack(files={"app.js": b"App()", "data.bin": noise[:SHARED]})
        victim.takes(base)
    package = town.pack(files={"app.js": b"App(1)", "data.bin": noise}, base=base, is_sealed="sealed" in name)
    parcel = next(parcel for parcel in package.parcels if (parcel.base is None) == (base is None))
    assert 0 <= len(parcel.content) - (SIZE - SHARED if base else SIZE) < OVERHEAD
    update = town.tell(package, told={"transfers": [parcel.tell()]})
    return Form(package, parcel, update)


@pytest.mark.parametrize("name", FORMS[:3])
def test_every_byte_of_a_transfer(folder: Path, victim: Victim, name: str) -> None:
    """A package, delta or sealed file with any one byte changed is no transfer, and no part of one to go on with."""
    form = make_form(victim, name)
    transfer = Transfer(form.parcel.format, "/x", len(form.parcel.content), form.parcel.sha256)
    for at in range(len(form.parcel.content)):
        part = Part(folder / "part", transfer.sha256)
        journey = Journey(transfer, part, lambda _: None)
        body = flip(form.parcel.content, at)
        with pytest.raises(VerificationError) as caught:
            journey.take(Response(200, {}, iter([]), lambda: None), iter([body]))
        assert (caught.value.reason, journey.is_over, part.size) == ("transfer_refused", False, 0)


@pytest.mark.parametrize("name", FORMS)
def test_bytes_of_a_transfer_the_whole_way(town: Town, victim: Victim, name: str) -> None:
    """A package, delta or sealed file with a byte changed, of every two hundred or of all, is not activated."""
    form = make_form(victim, name)
    trial = Trial(victim)
    for at in range(0, len(form.parcel.content), STRIDE):
        spoiled = replace_file(form.parcel, flip(form.parcel.content, at))
        town.tamper = _both(answer_with(form.update), spoiled)
        trial.attempt()
    town.tamper = answer_with(form.update)
    assert [outcome.status for outcome in victim.container.update([PROGRAM])] == ["activated"]
    assert victim.opens() == form.package.claim.version


def _both(one: Callable[[Request, Reply], Reply], other: Callable[[Request, Reply], Reply]) -> Any:
    return lambda request, reply: other(request, one(request, reply))


@pytest.mark.parametrize("name", FORMS)
def test_bytes_that_the_publisher_has_offered(town: Town, victim: Victim, name: str) -> None:
    """Where a thief of the publisher's key offers the changed bytes, they unpack to the signed tar or to nothing."""
    form = make_form(victim, name)
    before, snapshot = victim.opens(), victim.folder.with_name("snapshot")
    shutil.copytree(victim.folder, snapshot)
    for at in [*range(300), *range(300, len(form.parcel.content), 2_003)]:
        parcel = Parcel(form.parcel.format, flip(form.parcel.content, at), form.parcel.base)
        town.offer_files(parcel)
        told = {"transfers": [parcel.tell()]}
        town.tamper = answer_with(town.tell(form.package, told=told, transfers=(parcel.claim(),)))
        victim.update()
        assert victim.opens() in (before, form.package.claim.version)
        if victim.version != before:
            shutil.rmtree(victim.folder)
            shutil.copytree(snapshot, victim.folder)
            victim.restart()
    victim.recovers()


def test_every_digit_of_a_digest(town: Town, victim: Victim) -> None:
    """Digests and sizes beside the offer are held against it, each digit of them."""
    update = town.tell(town.pack())
    trial = Trial(victim)
    digits = flip_text(update["sha256"])
    transfer = update["transfers"][0]
    spoiled = [change(update, sha256=digest) for digest in digits]
    spoiled += [change(update, transfers=[change(transfer, sha256=one)]) for one in flip_text(transfer["sha256"])]
    spoiled += [change(update, size=update["size"] ^ 1 << bit) for bit in range(40)]
    spoiled += [change(update, transfers=[change(transfer, size=transfer["size"] ^ 1 << bit)]) for bit in range(40)]
    try_each(town, trial, iter(spoiled))


def test_another_signature_by_the_same_key(town: Town, victim: Victim) -> None:
    """This suite would see an activation: a second, genuine signature is as good as the first."""
    package = town.pack()
    signature = resign(package, *town.keys.keys["package"])
    town.tamper = answer_with(town.tell(package, told={"signature": signature}))
    trial = Trial(victim)
    with pytest.raises(AssertionError):
        trial.attempt()
