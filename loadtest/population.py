"""Who asks the bench's questions: an endless, seeded row of devices of which no two have the same id. PURE.

What must hold of it, since a flattering population measures nothing: no device asks twice; 19 of 20 are up to date, on
the package that the rules give them, with two or more grays above it that refuse them; in half of the refusals the
last condition decides; every gray's percentage admits at least 30 % of the devices. `measure_population` counts all
this from the requests as they are sent.

A fast server would want a gigabyte of rendered requests in ten seconds. So the row consists of records of 36 bytes: a
device id, an address, and the index of a template, which is a whole request (what else the device says, what it asks
about, which version it has). The percentages hash the id, hence id and template are matched here; `request.lua` only
copies a record's id and address into the places that all templates have in common.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random
from struct import Struct
from typing import Any

import orjson

from loadtest.market import MILLION, Profile, draw_profile
from loadtest.rule import PlainProgram, PlainRelease, compile_program, is_inside

Json = dict[str, Any]

WORKSPACE = "bench"
# A device id, all but its first letter, in hexadecimal digits; an address, of which each part has three digits.
ID_CHARS, ADDRESS_CHARS = 16, 15
# Device id, address (and one byte of nothing), index of the template.
RECORD = Struct(f"<{ID_CHARS}s{ADDRESS_CHARS}sxI")
# Different (program, device without id), ten a program of a thousand; with them about 28,000 templates.
PAIRS = 10_000
# One device of so many has something to install, all others are up to date.
OUTDATED_EVERY = 20
# An up-to-date device counts only where at least so many newer grays refuse it.
LEAST_REFUSALS = 2
# Multiplying by an odd number modulo a power of two repeats nothing before all values have been seen.
ID_STEP, ID_MASK = 0x9E3779B97F4A7C15, (1 << 64) - 1
ID_BACK = pow(ID_STEP, -1, 1 << 64)
# The parts of an address, 100 to 223; so many different ones there are, and the step has no factor in common with it.
OCTETS = tuple(str(octet) for octet in range(100, 224))
ADDRESSES, ADDRESS_STEP = len(OCTETS) ** 4, 146_118_077
# Versions below every release's, and none at all.
OLD_VERSIONS = ("1.0.0.0", "1.9.2.0", "")
# No program of the bench's has so short an id.
UNKNOWN_PROGRAM = "10000000"
# How many device ids each gray's percentage is tried on.
PANEL = 500

# As a request comes from a balancer. The body's length has three digits, so that everything stands in its place.
HEAD = (
    "POST /v1/check HTTP/1.1\r\nHost: edge.example\r\nX-Forwarded-For: {address}\r\nX-Forwarded-Proto: https\r\n"
    "X-Request-Id: 5f1d7c3a90e24b68{id}\r\nUser-Agent: okhttp/4.12.0\r\nContent-Type: application/json\r\n"
    "Content-Length: {length:3}\r\n\r\n"
)
BODY = f'{{{{"workspace":"{WORKSPACE}","device":{{{{"id":"d{{id}}",{{members}},"programs":{{programs}}}}}}'
MIN_BODY_BYTES, MAX_BODY_BYTES = 100, 999
BLANK_ADDRESS, BLANK_ID = "?" * ADDRESS_CHARS, "?" * ID_CHARS
ADDRESS_AT = HEAD.index("{address}")
REQUEST_ID_AT = HEAD.index("{id}") - len("{address}") + ADDRESS_CHARS
DEVICE_ID_AT = len(HEAD.format(address=BLANK_ADDRESS, id=BLANK_ID, length=0)) + BODY.format(
    id="{id}", members="", programs=""
).index("{id}")


@dataclass(frozen=True, slots=True)
class Pair:
    """A device without id, and a program. `open` are the places of the releases whose conditions hold, in order.

    `current` has the template for each of these places (the device has that release's package), `outdated` the one of a
    device that has an old version or none.
    """

    percents: tuple[tuple[int, tuple[str, int] | None], ...]
    current: dict[int, int]
    outdated: int


@dataclass(frozen=True, slots=True)
class Census:
    """What was counted over a number of requests; shares are between 0 and 1."""

    checks: int
    programs: int
    repeated_devices: int
    repeated_request_ids: int
    up_to_date: float
    least_refusals_of_up_to_date: int
    conditions_a_check: float
    refusals_a_check: float
    refused_by: dict[str, float]
    least_percentage: float


class Population:
    """The devices that ask about these documents; the same documents and seed give the same row.

    Args:
        documents: the programs, in their author's or published form, made by `loadtest/program.py`.
        seed: of all drawing.
        pairs: how many pairs of program and device without id to draw.
    """

    def __init__(self, documents: Sequence[Json], seed: int, pairs: int = PAIRS) -> None:
        self._seed = seed
        self.templates: list[bytes] = []
        programs = [compile_program(document) for document in documents]
        random = Random(f"{seed}/pairs")
        self._pairs = [self._make_pair(programs[number % len(programs)], random) for number in range(pairs)]

    def draw_records(self, start: int, count: int) -> bytes:
        """Returns the records of the devices from number `start` on, RECORD.size bytes each."""
        random = Random(f"{self._seed}/records/{start}").random
        pairs, total, pack = self._pairs, len(self._pairs), RECORD.pack
        records = bytearray()
        for number in range(start, start + count):
            device = f"{number * ID_STEP & ID_MASK:016x}"
            template = None
            while template is None:
                pair = pairs[int(random() * total)]
                template = pair.outdated if number % OUTDATED_EVERY == 0 else pick_current(pair, device)
            records += pack(device.encode(), make_address(number), template)
        return bytes(records)

    def render(self, records: bytes) -> Iterable[bytes]:
        """Yields the requests that records stand for, the very bytes that `request.lua` sends."""
        for device, address, index in RECORD.iter_unpack(records):
            yield fill_template(self.templates[index], device, address)

    def _make_pair(self, program: PlainProgram, random: Random) -> Pair:
        profile = draw_profile(random)
        places = [
            place
            for place, release in enumerate(program.releases)
            if all(holds(profile) for holds in release.conditions)
        ]
        return Pair(
            percents=tuple([(place, program.releases[place].percent) for place in places]),
            current={
                place: self._add_template(profile, program.id, program.releases[place].package)
                for place in places
                if place >= LEAST_REFUSALS
            },
            outdated=self._add_template(profile, program.id, random.choice(OLD_VERSIONS)),
        )

    def _add_template(self, profile: Profile, program: str, installed: str) -> int:
        self.templates.append(make_template(profile, {program: installed}))
        return len(self.templates) - 1


def pick_current(pair: Pair, device: str) -> int | None:
    """Returns the template of a device that has what the rules give it, None where too few grays refuse it."""
    for place, percent in pair.percents:
        if percent is None or is_inside(percent, f"d{device}"):
            return pair.current.get(place)
    return None


def count_repeated(records: bytes, start: int) -> int:
    """Returns how many of these records do not come from the devices with the numbers from `start` on, one each.

    A device's number can be read from its id, hence 0 means that no id repeats, here or in records with other numbers.
    """
    return sum(
        int(device, 16) * ID_BACK & ID_MASK != number
        for number, (device, _, _) in enumerate(RECORD.iter_unpack(records), start)
    )


def make_address(number: int) -> bytes:
    """Returns the address of a device by its number; they repeat after ADDRESSES."""
    place = number * ADDRESS_STEP % ADDRESSES
    parts = []
    for _ in range(4):
        place, part = divmod(place, len(OCTETS))
        parts.append(OCTETS[part])
    return ".".join(parts).encode()


def make_template(profile: Profile, programs: dict[str, str]) -> bytes:
    """Returns a request with blanks for id and address, about these programs (installed version by program).

    Raises:
        ValueError: the body's length has not three digits.
    """
    members = orjson.dumps(profile)[1:].decode()
    body = BODY.format(id=BLANK_ID, members=members, programs=orjson.dumps(programs).decode())
    length = len(body.encode())
    if not MIN_BODY_BYTES <= length <= MAX_BODY_BYTES:
        raise ValueError(f"expected a body of {MIN_BODY_BYTES} to {MAX_BODY_BYTES} bytes, got {length}")
    return (HEAD.format(address=BLANK_ADDRESS, id=BLANK_ID, length=length) + body).encode()


def fill_template(template: bytes, device: bytes, address: bytes) -> bytes:
    """Returns a request with the id (ID_CHARS) and the address (ADDRESS_CHARS) of a device in their places."""
    request = bytearray(template)
    request[ADDRESS_AT : ADDRESS_AT + ADDRESS_CHARS] = address
    request[REQUEST_ID_AT : REQUEST_ID_AT + ID_CHARS] = device
    request[DEVICE_ID_AT : DEVICE_ID_AT + ID_CHARS] = device
    return bytes(request)


def merge_questions(requests: Sequence[bytes]) -> bytes:
    """Returns the first request, asking about the programs of all of them, and about one that nobody has published."""
    question = parse_question(requests[0])
    for request in requests[1:]:
        question["programs"].update(parse_question(request)["programs"])
    question["programs"][UNKNOWN_PROGRAM] = ""
    body = orjson.dumps(question)
    head = requests[0].partition(b"Content-Length: ")[0]
    return b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body)


def parse_question(request: bytes) -> Json:
    """Returns the question in a request's body."""
    question: Json = orjson.loads(request[request.index(b"\r\n\r\n") + 4 :])
    return question


def measure_population(documents: Sequence[Json], requests: Iterable[bytes]) -> Census:
    """Counts what a population is like from the requests that it sends.

    Args:
        documents: the documents that the requests are about.
        requests: whole HTTP requests, each about one program, at least one.
    """
    counter = _Counter([compile_program(document) for document in documents])
    for request in requests:
        counter.add(request)
    return counter.conclude()


def count_percentages(programs: Iterable[PlainProgram], panel: int = PANEL) -> float:
    """Returns the smallest share of a panel of device ids that any gray's percentage admits."""
    devices = [f"d{number * ID_STEP & ID_MASK:016x}" for number in range(panel)]
    grays = [one.percent for program in programs for one in program.releases if one.percent is not None]
    return min(sum(is_inside(gray, device) for device in devices) for gray in grays) / panel


class _Counter:
    """Walks each search as the rules say, one condition after the other, and keeps count."""

    def __init__(self, programs: list[PlainProgram]) -> None:
        self._programs = {program.id: program for program in programs}
        self._devices: set[str] = set()
        self._request_ids: set[bytes] = set()
        self._asked: set[str] = set()
        self._checks = self._conditions = self._up_to_date = 0
        self._refused_by = dict.fromkeys(("condition 1", "condition 2", "condition 3", "condition 4", "percentage"), 0)
        self._least = MILLION

    def add(self, request: bytes) -> None:
        question = parse_question(request)
        device = question["device"]
        ((name, installed),) = question["programs"].items()
        self._checks += 1
        self._asked.add(name)
        self._devices.add(device["id"])
        self._request_ids.add(request.partition(b"X-Request-Id: ")[2].partition(b"\r\n")[0])
        refusals, decided = self._search(self._programs[name], device)
        if decided is not None and decided.package == installed:
            self._up_to_date += 1
            self._least = min(self._least, refusals)

    def _search(self, program: PlainProgram, device: Json) -> tuple[int, PlainRelease | None]:
        """How many grays refused, and the release that did not."""
        refusals = 0
        for release in program.releases:
            refused_by = self._ask(release, device)
            if refused_by is None:
                return refusals, release
            self._refused_by[refused_by] += 1
            refusals += 1
        return refusals, None

    def _ask(self, release: PlainRelease, device: Json) -> str | None:
        for place, holds in enumerate(release.conditions, 1):
            self._conditions += 1
            if not holds(device):
                return f"condition {place}"
        return None if is_inside(release.percent, device["id"]) else "percentage"

    def conclude(self) -> Census:
        refusals = sum(self._refused_by.values())
        return Census(
            checks=self._checks,
            programs=len(self._asked),
            repeated_devices=self._checks - len(self._devices),
            repeated_request_ids=self._checks - len(self._request_ids),
            up_to_date=round(self._up_to_date / self._checks, 4),
            least_refusals_of_up_to_date=self._least,
            conditions_a_check=round(self._conditions / self._checks, 2),
            refusals_a_check=round(refusals / self._checks, 2),
            refused_by={name: round(count / refusals, 4) for name, count in self._refused_by.items()},
            least_percentage=round(count_percentages(self._programs.values()), 4),
        )
