"""What a look-up costs among many lists: `python -m loadtest.lookup FOLDER LISTS IDS LOOKUPS`, in a process of its own.

It maps files as a worker does, with the worker's own code, and asks them what a check would; that is why it alone of
the load tests imports the edge. Each look-up makes the fingerprint of another user and asks another list than the one
before: what it needs lies in no cache.
"""

import hashlib
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from random import Random
from statistics import median
from typing import Any, Final

import orjson

from edge.audience import FOLDER, Opener
from ruleset import parse_audience
from ruleset.roster import Roster

Json = dict[str, Any]
Look = tuple[Callable[[str], bool], str]

KEY: Final = bytes(range(32))
SEED: Final = 20_261_126
# How often the look-ups are timed.
ROUNDS: Final = 5
MICRO: Final = 1_000_000


def build_list(folder: Path, count: int, number: int) -> bytes:
    """Writes a list of users that no other list has; returns its document."""
    roster = Roster(KEY)
    roster.add(name_user(number * count + i) for i in range(count))
    built = roster.build()
    path = folder / f"{number}.new"
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for chunk in built.chunks:
            digest.update(chunk)
            file.write(chunk)
    sha256 = digest.hexdigest()
    path.rename(folder / sha256)
    document = {"format": 1, "audience": f"list-{number}", "key": "k1", "count": built.count, "size": built.size}
    return orjson.dumps(document | {"sha256": sha256, "url": f"/v1/files/{sha256}"})


def name_user(number: int) -> str:
    """Returns a user's id; no two numbers have the same."""
    return f"user-{number}"


def draw_looks(lists: Sequence[Callable[[str], bool]], count: int, looked: int, *, is_member: bool) -> list[Look]:
    """Returns `looked` look-ups in lists of `count` users: each a list, and a user who is on it, or on no list."""
    random = Random(f"{SEED}/{is_member}")
    looks = []
    for _ in range(looked):
        place = random.randrange(len(lists))
        first = place * count if is_member else len(lists) * count
        looks.append((lists[place], name_user(first + random.randrange(count))))
    return looks


def time_looks(looks: Sequence[Look], *, is_member: bool) -> float:
    """Returns the processor microseconds of a look-up, the median of ROUNDS.

    Raises:
        ValueError: an answer is wrong.
    """
    wrong = sum(holds(user) is not is_member for holds, user in looks)
    if wrong:
        raise ValueError(f"expected {is_member} of every look-up, got {wrong} others of {len(looks)}")
    times = []
    for _ in range(ROUNDS):
        began = time.process_time()
        for holds, user in looks:
            holds(user)
        times.append((time.process_time() - began) * MICRO / len(looks))
    return round(median(times), 3)


def measure_lookups(folder: Path, lists: int, count: int, looked: int) -> Json:
    """Returns what a look-up costs for members and for strangers, in processor microseconds."""
    (folder / FOLDER).mkdir()
    with ProcessPoolExecutor() as pool:
        documents = list(pool.map(partial(build_list, folder / FOLDER, count), range(lists)))
    opener = Opener(folder, {"k1": KEY})
    opened = [opener.open(parse_audience(document)).whitelist.holds for document in documents]
    kinds = {"member": True, "stranger": False}
    return {
        "lookup_us": {
            name: time_looks(draw_looks(opened, count, looked, is_member=is_member), is_member=is_member)
            for name, is_member in kinds.items()
        }
    }


def main(arguments: Sequence[str]) -> None:
    """Prints the figures as JSON."""
    folder, *numbers = arguments
    lists, count, looked = map(int, numbers)
    sys.stdout.write(orjson.dumps(measure_lookups(Path(folder), lists, count, looked)).decode() + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
