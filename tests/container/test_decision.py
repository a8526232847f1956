"""What to believe: both sides of each boundary. The refusals are tested where they matter, in test_client."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundle.archive import MAX_ARCHIVE_BYTES
from container import VerificationError
from container.decision import (
    MAX_LEAD_S,
    MAX_WAYS,
    Held,
    is_below,
    is_declined,
    is_stale,
    make_plan,
    read_offer,
    tell_time,
)
from container.wire import Update
from tests.container.world import EDGE, KEYS, NOW, Parcel, World, make_config, resign, whole
from trust import Root, TransferClaim, read_root, sign_offer

ROOT = make_config(EDGE).root


def update_of(
    world: World, version: str = "1.1", action: str = "install", expires: int = NOW + 10, epoch: int = 1
) -> Update:
    packed = world.pack(version)
    world.publish(packed, action, 5, offered={"epoch": epoch, "expires": expires})
    return decode(world)


def decode(world: World) -> Update:
    return msgspec.convert(world.updates[0], Update)


@pytest.mark.parametrize(
    ("seen", "stale"), [((0, 0), False), ((1, 4), False), ((1, 5), False), ((1, 6), True), ((2, 0), True)]
)
def test_order_is_epoch_then_revision(world: World, seen: tuple[int, int], *, stale: bool) -> None:
    """An offer as new as the newest seen is fine; an older one, by epoch and then revision, is stale."""
    offer = read_offer(update_of(world), "demo", ROOT)
    assert is_stale(offer, Held("1.0", seen)) is stale


@pytest.mark.parametrize(("epoch", "stale"), [(0, False), (1, False), (2, True)])
def test_offer_of_a_former_epoch_is_stale(world: World, epoch: int, *, stale: bool) -> None:
    """Whatever was signed before the root's epoch is old, and no attack."""
    offer = read_offer(update_of(world), "demo", ROOT)
    assert is_stale(offer, Held("1.0", (0, 0)), epoch) is stale


def root_of(epoch: int) -> Root:
    world_root = make_config(EDGE, epoch=epoch).root
    assert world_root.epoch == epoch
    return world_root


@pytest.mark.parametrize(("epoch", "is_fine"), [(1, True), (2, True), (3, False)])
def test_offer_of_a_later_epoch_is_refused(world: World, epoch: int, *, is_fine: bool) -> None:
    """Nobody but a root opens an epoch: an offer of one that is not open is refused."""
    update = update_of(world, epoch=epoch)
    if is_fine:
        assert read_offer(update, "demo", root_of(2)).epoch == epoch
        return
    with pytest.raises(VerificationError, match="expected an offer of epoch 2, as in root 1, got 3") as caught:
        read_offer(update, "demo", root_of(2))
    assert caught.value.reason == "offer_refused"


@pytest.mark.parametrize(("now", "is_fine"), [(NOW + 9, True), (NOW + 10, False)])
def test_offer_expires_at_its_second(world: World, now: int, *, is_fine: bool) -> None:
    """An offer is good until the second before it expires."""
    update = update_of(world)
    offer = read_offer(update, "demo", ROOT)
    if is_fine:
        assert make_plan(update, offer, ROOT, Held("1.0", (0, 0)), now).order == (1, 5)
        return
    with pytest.raises(VerificationError, match=r"expected an offer valid now \(1794000010\), got one that expired"):
        make_plan(update, offer, ROOT, Held("1.0", (0, 0)), now)


@pytest.mark.parametrize(
    ("held", "action", "is_fine"),
    [
        ("", "install", True),
        ("1.0.9", "install", True),
        ("1.1", "install", False),
        ("1.1.0.0", "install", False),
        ("1.10", "install", False),
        ("1.10", "rollback", True),
    ],
)
def test_only_a_rollback_goes_down(world: World, held: str, action: str, *, is_fine: bool) -> None:
    """Versions compare by number, absent parts being 0; an install goes up, a rollback anywhere."""
    update = update_of(world, action=action)
    offer = read_offer(update, "demo", ROOT)
    if is_fine:
        plan = make_plan(update, offer, ROOT, Held(held, (0, 0)), NOW)
        assert plan.package is not None
        assert plan.transfer == update.transfers[0]
        return
    with pytest.raises(VerificationError, match=f"expected an install above {held}, got 1.1"):
        make_plan(update, offer, ROOT, Held(held, (0, 0)), NOW)


def test_remove_needs_no_package(world: World) -> None:
    """A remove is planned without package and transfer."""
    world.take_down()
    update = decode(world)
    plan = make_plan(update, read_offer(update, "demo", ROOT), ROOT, Held("1.0", (0, 0)), NOW)
    assert (plan.package, plan.ways, plan.transfer) == (None, (), None)
    assert not is_declined(plan.offer, Held("", (0, 0), declined=("",)))


def plan_ways(world: World, held: str) -> list[tuple[str, str]]:
    """Returns the format and base of each way that is planned."""
    update = decode(world)
    plan = make_plan(update, read_offer(update, "demo", ROOT), ROOT, Held("1.0", (0, 0), held), NOW)
    return [(way.transfer.format, way.base) for way in plan.ways]


def test_delta_comes_first_where_it_starts_from_the_active_tar(world: World) -> None:
    """A delta is a way where its base is what is active, by the digest in the offer; the whole is always one."""
    one, other, new = world.pack("1.0"), world.pack("0.9"), world.pack("1.1")
    deltas = [world.delta(other, new), world.delta(one, new)]
    world.publish(new, parcels=deltas)
    base = one.claim.sha256
    assert plan_ways(world, base) == [("dcz", base), ("zstd", "")]
    assert plan_ways(world, "") == [("zstd", "")]
    assert plan_ways(world, "0" * 64) == [("zstd", "")]


def test_delta_that_an_edge_says_starts_elsewhere(world: World) -> None:
    """What an edge says of a delta's base counts for nothing: the offer knows."""
    one, other, new = world.pack("1.0"), world.pack("0.9"), world.pack("1.1")
    world.publish(new, parcels=[world.delta(other, new)])
    world.updates[0]["transfers"][0]["from"] = "1.0"
    assert plan_ways(world, one.claim.sha256) == [("zstd", "")]


def test_delta_alone_is_no_way_from_another_version(world: World) -> None:
    """Where there is no whole transfer and no delta from here, there is no way."""
    one, new = world.pack("1.0"), world.pack("1.1")
    world.publish(new, parcels=[world.delta(one, new)])
    del world.updates[0]["transfers"][1]
    assert plan_ways(world, one.claim.sha256) == [("dcz", one.claim.sha256)]
    with pytest.raises(VerificationError, match=r"whole or from the active version, got \['dcz'\]") as caught:
        plan_ways(world, "")
    assert caught.value.reason == "no_transfer"


def test_few_ways_are_tried(world: World) -> None:
    """Of many addresses for one transfer the first few count."""
    packed = world.pack("1.1")
    world.publish(packed)
    world.updates[0]["transfers"] = [{**whole(packed).tell(), "url": f"/{number}"} for number in range(9)]
    assert len(plan_ways(world, "")) == MAX_WAYS


def offer_size(world: World, size: int) -> None:
    """Publishes a transfer that is said to have so many bytes, and so it is offered."""
    packed = world.pack("1.1")
    parcel = whole(packed)
    claim = TransferClaim(format="zstd", size=size, sha256=parcel.sha256)
    world.publish(packed, offered={"transfers": (claim,)}, transfers=[{**parcel.tell(), "size": size}])


@pytest.mark.parametrize(("more", "is_fine"), [(0, True), (1, False)])
def test_transfer_is_no_larger_than_its_package_can_make_it(world: World, more: int, *, is_fine: bool) -> None:
    """A stolen offer key fills no disk with what is no package: a transfer has the package's size and some overhead."""
    size = world.pack("1.1").claim.size
    offer_size(world, size + size // 256 + 65_536 + more)
    if is_fine:
        assert plan_ways(world, "") == [("zstd", "")]
        return
    with pytest.raises(VerificationError, match="expected an offered transfer"):
        plan_ways(world, "")


@pytest.mark.parametrize(("size", "is_fine"), [(MAX_ARCHIVE_BYTES, True), (MAX_ARCHIVE_BYTES + 1, False)])
def test_package_has_a_size_that_a_package_may_have(world: World, size: int, *, is_fine: bool) -> None:
    """A package that could never be unpacked is not fetched."""
    packed = world.pack("1.1")
    world.publish(packed, signature=resign(packed, size=size), size=size)
    if is_fine:
        assert plan_ways(world, "") == [("zstd", "")]
        return
    with pytest.raises(VerificationError, match=f"expected a package of at most {MAX_ARCHIVE_BYTES} bytes, got {size}"):
        plan_ways(world, "")


@pytest.mark.parametrize(
    ("clock", "signed", "time"),
    [
        (100.9, 0, 100),
        (100, 100, 100),
        (99, 100, 100),
        (0, 100, 100),
        (-5, 100, 100),
        (MAX_LEAD_S + 100, 100, MAX_LEAD_S + 100),
        (MAX_LEAD_S + 101, 100, 100),
        (10**12, 100, 100),
    ],
)
def test_time_is_the_clocks_where_that_is_plausible(clock: float, signed: int, time: int) -> None:
    """A clock behind what was signed is wrong, and so is one that is more than MAX_LEAD_S ahead of it."""
    assert tell_time(clock, signed) == time


@given(st.floats(-1e12, 1e12), st.integers(0, 10**12))
def test_time_is_within_its_bounds(clock: float, signed: int) -> None:
    """Whatever the clock says, the time is never before what was signed, nor MAX_LEAD_S beyond."""
    assert signed <= tell_time(clock, signed) <= signed + MAX_LEAD_S


@pytest.mark.parametrize(
    ("version", "floor", "below"),
    [("1.0", "", False), ("1.0", "1", False), ("1.0", "1.0.0.1", True), ("1.9", "1.10", True), ("2", "1.10", False)],
)
def test_floor_compares_as_versions_do(version: str, floor: str, *, below: bool) -> None:
    """A version at its floor may be opened, one below it may not."""
    assert is_below(version, floor) is below


def test_declined_is_by_digest(world: World) -> None:
    """What did not come up are bytes, under whatever version or release."""
    offer = read_offer(update_of(world), "demo", ROOT)
    assert is_declined(offer, Held("", (0, 0), declined=("0" * 64, offer.sha256)))
    assert not is_declined(offer, Held("", (0, 0), declined=("0" * 64,)))


def test_new_root_decides(world: World) -> None:
    """An offer by a key that a newer root has taken the role from is refused, one by the new key believed."""
    update = update_of(world)
    world.rotate("offer")
    root = read_root(world.roots[1])
    with pytest.raises(VerificationError):
        read_offer(update, "demo", root)
    assert read_offer(update_of(world), "demo", root).version == "1.1"


def test_parcel_of_the_tests_is_what_it_says() -> None:
    """The tests' own transfers have the digest of their bytes."""
    told: dict[str, Any] = Parcel(b"x").tell()
    assert (told["size"], told["sha256"][:8]) == (1, "2d711642")


def test_offer_is_signed_by_the_role(world: World) -> None:
    """An offer under a key of another role is refused, whatever it says."""
    packed = world.pack("1.1")
    world.publish(packed, offer=sign_offer(world.offer(packed), KEYS["channel"]))
    with pytest.raises(VerificationError, match="offer: "):
        read_offer(decode(world), "demo", ROOT)
