"""What to believe: both sides of each boundary. The refusals are tested where they matter, in test_client."""

import msgspec
import pytest

from container import VerificationError
from container.decision import Held, is_stale, make_plan, read_offer
from container.wire import Update
from tests.container.world import EDGE, KEYS, NOW, World, make_config
from trust import sign_offer

ROOT = make_config(EDGE).root


def update_of(world: World, version: str = "1.1", action: str = "install", expires: int = NOW + 10) -> Update:
    packed = world.pack(version)
    offer = world.offer(packed, action, epoch=2, revision=5, expires=expires)
    world.publish(packed, action, offer=sign_offer(offer, KEYS["offer"]))
    return decode(world)


def decode(world: World) -> Update:
    return msgspec.convert(world.updates[0], Update)


@pytest.mark.parametrize(
    ("seen", "stale"), [((0, 0), False), ((1, 99), False), ((2, 5), False), ((2, 6), True), ((3, 0), True)]
)
def test_order_is_epoch_then_revision(world: World, seen: tuple[int, int], *, stale: bool) -> None:
    """An offer as new as the newest seen is fine; an older one, by epoch and then revision, is stale."""
    offer = read_offer(update_of(world), "demo", ROOT)
    assert is_stale(offer, Held("1.0", seen)) is stale


@pytest.mark.parametrize(("now", "is_fine"), [(NOW + 9, True), (NOW + 10, False)])
def test_offer_expires_at_its_second(world: World, now: int, *, is_fine: bool) -> None:
    """An offer is good until the second before it expires."""
    update = update_of(world)
    offer = read_offer(update, "demo", ROOT)
    if is_fine:
        assert make_plan(update, offer, ROOT, Held("1.0", (0, 0)), now).order == (2, 5)
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
    assert (plan.package, plan.transfer) == (None, None)
