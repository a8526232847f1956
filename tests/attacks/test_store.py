"""Attackers who have a copy of the store, the CDN and the app's configuration, or speak in the place of a store.

A copy opens no sealed package that was not released; a store of their own withholds, and does nothing else.
"""

import itertools
import logging
import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundle import BundleError, unseal
from tests.attacks.harness import (
    PROGRAM,
    Package,
    Reply,
    Town,
    Victim,
    be_honest,
    make_victim,
    replace_file,
)

KEY = re.compile(rb"AGE-SECRET-KEY-1[0-9A-Z]{58}", re.IGNORECASE)
# What an update may take for a megabyte that does not come, with all its tries, in seconds.
MAX_SLOW_S = 3_700
SECRET = b"the campaign that nobody may know of until Friday"


def pack_secret(town: Town, base: Package) -> Package:
    """Returns a sealed package that no release gives to anybody."""
    return town.pack(files={"app.js": SECRET * 20, "pages/index.js": b"Page()"}, base=base, is_sealed=True)


def copy_everything(town: Town, victim: Victim) -> Iterator[bytes]:
    """Yields whatever lies on the CDN, in the app, on a device that has all that was released, and in its traffic."""
    yield from town.files.values()
    yield from town.keys.documents
    yield from victim.config.roots
    yield repr(victim.config).encode()
    yield from (path.read_bytes() for path in victim.folder.rglob("*") if path.is_file())
    for request in town.requests:
        yield request.body + repr(request).encode() + town.answer(request).content


def test_copy_of_the_cdn_opens_no_sealed_package(town: Town, folder: Path) -> None:
    """Neither text nor key of a sealed, unreleased package is anywhere, and no key that is somewhere opens it."""
    victim = make_victim(town)
    released = town.pack(base=town.packages[victim.version], is_sealed=True)
    victim.takes(released)
    secret = pack_secret(town, released)
    everything = list(copy_everything(town, victim))
    assert all(parcel.content in everything for parcel in secret.parcels), "its parcels are on the CDN"
    text = b"\n".join(everything)
    assert SECRET not in text
    assert secret.key.encode() not in text
    keys = {found.decode() for found in KEY.findall(text)}
    assert released.key in keys, "the keys of what was released are found, so that this test can fail"
    for key, parcel in itertools.product(keys, secret.parcels):
        assert not opens(folder, parcel.content, key)
    assert all(opens(folder, parcel.content, secret.key) for parcel in secret.parcels)
    victim.recovers()


def opens(folder: Path, content: bytes, key: str) -> bool:
    """Says whether a key opens a file."""
    sealed, clear = folder / "sealed.age", folder / "clear"
    sealed.write_bytes(content)
    try:
        unseal(sealed, clear, key)
    except BundleError:
        return False
    return True


def test_sealed_package_is_found_in_the_answer_alone(
    town: Town, victim: Victim, caplog: pytest.LogCaptureFixture
) -> None:
    """A device that a release covers gets the key, and opens the package; no disk, log, report or repr has the key."""
    caplog.set_level(logging.DEBUG)
    package = town.pack(base=town.packages[victim.version], is_sealed=True)
    town.publish(package)
    shown = repr(victim.container.check([PROGRAM]))
    shown += repr(victim.update())
    assert victim.opens() == package.claim.version
    assert KEY.search(f"{shown} {town.events} {caplog.text}".encode()) is None
    assert [path for path in victim.folder.rglob("*") if path.is_file() and KEY.search(path.read_bytes())] == []
    assert not any(KEY.search(request.body + request.path.encode()) for request in town.requests)
    victim.recovers()


def test_key_of_another_sealed_package(town: Town, victim: Victim) -> None:
    """Each package has a key of its own."""
    one, other = town.pack(is_sealed=True), town.pack(is_sealed=True)
    assert one.key != other.key
    town.updates[PROGRAM] = {**town.tell(one), "key": other.key}
    victim.refuses("seal_refused")
    victim.recovers()


@pytest.mark.parametrize("is_sealed", [False, True], ids=["clear", "sealed"])
def test_malicious_store(town: Town, victim: Victim, *, is_sealed: bool) -> None:
    """A store that gives an older, another, an empty or no file keeps devices where they are."""
    old = town.packages[victim.version]
    package = town.pack(is_sealed=is_sealed)
    content = package.full.content
    town.publish(package)
    for body in (old.full.content, b"", content[:-1], content + b"\0", content[::-1], content * 2):
        town.tamper = replace_file(package.full, body)
        victim.refuses("transfer_refused")
    town.tamper = lambda request, reply: Reply(404) if request.path.startswith("/v1/files/") else reply
    victim.refuses("edge")
    victim.recovers()


def test_store_that_is_slow_and_never_late(town: Town, victim: Victim) -> None:
    """A store that gives a hundred bytes a second is left within the hour, and not after three."""
    package = town.pack(files={"data.bin": random.Random(7).randbytes(1_000_000)})
    town.publish(package)
    content = package.full.content

    def drip() -> Iterator[bytes]:
        for at in range(0, len(content), 100):
            town.time += 1
            yield content[at : at + 100]

    before = town.time
    town.tamper = lambda request, reply: (
        Reply(200, drip()) if request.path.startswith("/v1/files/") else be_honest(request, reply)
    )
    victim.refuses("network")
    assert town.time - before < MAX_SLOW_S
    victim.recovers()


@pytest.mark.parametrize("is_sealed", [False, True], ids=["clear", "sealed"])
def test_malicious_store_that_spoils_deltas(town: Town, victim: Victim, *, is_sealed: bool) -> None:
    """A delta that is not what was offered costs its bytes and nothing else: the full package is taken instead."""
    base = town.packages[victim.version]
    package = town.pack(base=base, is_sealed=is_sealed)
    assert package.parcels[0].base is base
    town.publish(package)
    town.tamper = replace_file(package.parcels[0], b"evil" * 10)
    outcome = victim.update()
    assert outcome
    assert (outcome.status, outcome.transfer) == ("activated", "zstd")
    assert victim.opens() == package.claim.version
    victim.recovers()


def test_device_that_was_spoiled_takes_the_full_package(town: Town, victim: Victim) -> None:
    """A delta from files that somebody has changed on the device is not applied, and nothing of theirs stays."""
    base = town.packages[victim.version]
    active = victim.container.active(PROGRAM)
    assert active
    (active.folder / "app.js").write_bytes(b"steal()")
    package = town.pack(base=base)
    town.publish(package)
    outcome = victim.update()
    assert outcome
    assert (outcome.status, outcome.transfer) == ("activated", "zstd")
    assert victim.opens() == package.claim.version
    victim.recovers()
