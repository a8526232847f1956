"""A container that is killed, at every step and at random moments: one whole version is active, and nothing grows.

Each life is a process of its own, forked, that kills itself (SIGKILL: nothing is cleaned up) at a given moment: before
the n-th call that changes something about files, or at the n-th event of the interpreter's profiler.
"""

import os
import random
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from bundle import PackedPackage
from container import Container, NotInstalledError
from tests.container.world import PROGRAM, World

# Built-in functions that change files, or say that they are on disk.
STEPS = frozenset(
    ("open", "mkdir", "rename", "replace", "unlink", "remove", "rmdir", "fsync", "write", "writelines", "fchmod",
     "flock", "__exit__", "decrypt_io")
)  # fmt: skip
NOISE = random.Random(1).randbytes(3000)
MOMENTS = 200
_MEMORY = Path("/dev/shm")

Counts = Callable[[str, Any], bool]


def is_step(event: str, argument: Any) -> bool:
    """Counts the calls that are named above."""
    return event == "c_call" and getattr(argument, "__name__", "") in STEPS


def is_any(_event: str, _argument: Any) -> bool:
    """Counts every call and return, of Python's and of C's."""
    return True


def live(work: Callable[[], object], at: int, counts: Counts) -> bool:
    """Does some work in a process that kills itself at the `at`-th moment; says whether it came to that."""
    sys.stdout.flush()
    process = os.fork()
    if process == 0:
        try:
            sys.setprofile(make_killer(at, counts))
            work()
            sys.setprofile(None)
            os._exit(0)
        except BaseException:  # noqa: BLE001, nothing may get back into the test's own process
            sys.setprofile(None)
            traceback.print_exc()
            os._exit(1)
    _, status = os.waitpid(process, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0, "the work has failed by itself"
    return False


def make_killer(at: int, counts: Counts) -> Callable[[FrameType, str, Any], None]:
    seen = 0

    def kill(_frame: FrameType, event: str, argument: Any) -> None:
        nonlocal seen
        if counts(event, argument):
            seen += 1
            if seen == at:
                os.kill(os.getpid(), signal.SIGKILL)

    return kill


class Device:
    """A device in a world, whose packages have known files, and the story that it lives through."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.files: dict[str, dict[str, bytes]] = {}
        self.revision = 0
        world.stream = lambda body: (body[at : at + 1500] for at in range(0, len(body), 1500))

    def pack(self, version: str, **given: Any) -> PackedPackage:
        self.files[version] = {"app.js": f"App({version})".encode(), "a/data.bin": NOISE, f"only-{version}.js": b""}
        return self.world.pack(version, self.files[version], **given)

    def publish(self, packed: PackedPackage, action: str = "install", **given: Any) -> None:
        self.revision += 1
        self.world.publish(packed, action, self.revision, **given)

    def open(self) -> Container:
        return self.world.container()

    def update(self, *wanted: str) -> None:
        """Updates, and wants these to become of it."""
        assert tuple(outcome.status for outcome in self.open().update([PROGRAM])) == wanted

    def install(self, version: str) -> PackedPackage:
        """Has a version that has come up, and that is reported."""
        packed = self.pack(version)
        self.publish(packed)
        self.update("activated")
        container = self.open()
        container.open(PROGRAM)
        container.confirm(PROGRAM)
        self.update()
        return packed

    def check(self, *versions: str) -> str:
        """One of these versions is active, and it is whole; returns it."""
        active = self.open().active(PROGRAM)
        version = active.version if active else ""
        assert version in versions
        if active:
            assert read(active.folder) == self.files[version]
        return version

    def list(self) -> list[str]:
        """Everything that lies in the device's folder, but for marks, which come and go."""
        folder = self.world.device_folder
        paths = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))
        return [path for path in paths if not path.startswith("marks")]

    def count_versions(self) -> int:
        """How many versions are unpacked."""
        return len(list((self.world.device_folder / "programs").glob("*/*")))


def read(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def device() -> Iterator[Device]:
    """A device with nothing on it, in memory where there is such a thing."""
    with tempfile.TemporaryDirectory(prefix="graywave-", dir=_MEMORY if _MEMORY.is_dir() else None) as folder:
        yield Device(World(Path(folder)))


# A story sets the device up, and says what is done while it may be killed, which versions may be active then, and which
# one is, once an update was left in peace.
Told = tuple[Callable[[], object], tuple[str, ...], str]
Story = Callable[[Device], Told]


def tell_first(device: Device) -> Told:
    device.publish(device.pack("1.0"))
    return lambda: device.update("activated"), ("", "1.0"), "1.0"


def tell_full(device: Device) -> Told:
    device.install("1.0")
    device.publish(device.pack("1.1"))
    return lambda: device.update("activated"), ("1.0", "1.1"), "1.1"


def tell_delta(device: Device) -> Told:
    old, new = device.install("1.0"), device.pack("1.1", is_sealed=True)
    device.publish(new, parcels=[device.world.delta(old, new)])
    return lambda: device.update("activated"), ("1.0", "1.1"), "1.1"


def tell_damaged_base(device: Device) -> Told:
    old, new = device.install("1.0"), device.pack("1.1")
    active = device.open().active(PROGRAM)
    assert active
    (active.folder / "app.js").write_bytes(b"evil")
    device.files["1.0"] = read(active.folder)
    device.publish(new, parcels=[device.world.delta(old, new)])
    return lambda: device.update("activated"), ("1.0", "1.1"), "1.1"


def tell_rollback(device: Device) -> Told:
    old = device.install("1.0")
    device.install("1.1")
    device.publish(old, "rollback")
    return lambda: device.update("activated"), ("1.0", "1.1"), "1.0"


def tell_removal(device: Device) -> Told:
    device.install("1.0")
    device.install("1.1")
    device.world.take_down()
    return lambda: device.update("removed"), ("1.1", ""), ""


def tell_trouble(device: Device) -> Told:
    """A version is opened, does not come up, and is gone back from; a third one is brought, under a new root."""
    device.install("1.0")
    device.publish(device.pack("1.1"))
    device.update("activated")
    device.open().open(PROGRAM)
    device.world.rotate("offer")
    device.publish(device.pack("1.2"))

    def work() -> None:
        device.open().open(PROGRAM)
        device.update("activated")

    return work, ("1.0", "1.1", "1.2"), "1.2"


def tell_question(device: Device) -> Told:
    """A version waits for the user, who wants it; it comes up."""
    device.install("1.0")
    device.publish(device.pack("1.1"), urgency="prompt")

    def work() -> None:
        device.update("ready")
        container = device.open()
        container.apply_now(PROGRAM)
        container.open(PROGRAM)
        container.confirm(PROGRAM)

    return work, ("1.0", "1.1"), "1.1"


STORIES: dict[str, Story] = {
    "first": tell_first,
    "full": tell_full,
    "sealed delta": tell_delta,
    "damaged base": tell_damaged_base,
    "rollback": tell_rollback,
    "removal": tell_removal,
    "trouble": tell_trouble,
    "question": tell_question,
}
# In these the program is opened, too: killed behind that, it has not come up.
OPENING = ("trouble", "question")


@pytest.mark.parametrize("name", STORIES)
def test_killed_at_each_step(device: Device, name: str) -> None:
    """Before each call that touches files: a whole version is active, the next update does it, and leaves the same."""
    work, versions, last = STORIES[name](device)
    folder, template = device.world.device_folder, device.world.folder / "template"
    device.world.device_folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(folder, template)
    listings, at, was_killed = list[list[str]](), 0, True
    while was_killed:
        at += 1
        shutil.rmtree(folder)
        shutil.copytree(template, folder)
        was_killed = live(work, at, is_step)
        device.check(*versions)
        finish(device, name, last)
        listings.append(device.list())
    assert at > 15, "there are steps to be killed at"
    if name not in OPENING:
        assert all(listing == listings[-1] for listing in listings)
    beside = [[path for path in listing if not path.startswith("programs/")] for listing in listings]
    assert all(one == beside[-1] for one in beside)


def finish(device: Device, name: str, last: str) -> None:
    """Leaves the device in peace until it has the version that it should have, which opens."""
    container = device.open()
    container.update([PROGRAM])
    if name == "question":
        container.apply_now(PROGRAM)
    device.check(last)
    if not last:
        with pytest.raises(NotInstalledError):
            container.open(PROGRAM)
        return
    opened = container.open(PROGRAM).version
    assert opened == last or (name in OPENING and opened == "1.0"), "it may have been opened before, and not come up"
    container.confirm(PROGRAM)
    container.update([PROGRAM])
    assert device.count_versions() <= (3 if name in OPENING else 2)


def test_killed_at_random_moments(device: Device) -> None:
    """Two hundred lives of one device, each killed somewhere: a whole version at each death, and nothing ever grows.

    Versions come by deltas and whole, go back, and come again; what one life has left the next one finds.
    """
    dice = random.Random(20261120)
    previous = device.install("1.0")
    published, deaths = previous, 0
    for life in range(2 * MOMENTS):
        if deaths == MOMENTS:
            break
        if life % 3 == 0:
            previous, published = published, device.pack(f"1.{life + 1}", is_sealed=life % 2 == 0)
            device.publish(published, parcels=[device.world.delta(previous, published)])
        deaths += live(lambda: spend(device), dice.randrange(1, 8000), is_any)
        device.check(*device.files)
        assert device.count_versions() <= 4, "active, former, confirmed, and one that nobody has named yet"
        staging = list(device.world.device_folder.glob("staging/*"))
        assert len(staging) <= 6, "the parts of two ways, each with its tag, what is opened of a sealed one, a tree"
    assert deaths == MOMENTS
    device.publish(device.pack("999.9"))
    device.update("activated")
    assert device.open().open(PROGRAM).version == "999.9"
    assert device.count_versions() <= 3
    assert not (device.world.device_folder / "staging").exists()


def spend(device: Device) -> None:
    """A day in a device's life: an update, and the program is used."""
    container = device.open()
    container.update([PROGRAM])
    container.open(PROGRAM)
    container.confirm(PROGRAM)
    container.update([PROGRAM])
