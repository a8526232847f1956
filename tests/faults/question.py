"""What devices ask: questions drawn from the market, each about some programs, as whole HTTP requests. PURE."""

from collections.abc import Sequence
from random import Random
from typing import Any

import orjson

from loadtest.market import draw_profile

Json = dict[str, Any]

MOST_PROGRAMS = 4
INSTALLED = ("", "", "1.0.0.0", "2.1.0.0")


def draw_questions(workspace: str, programs: Sequence[str], count: int, random: Random) -> list[Json]:
    """Returns so many questions of different devices."""
    questions = []
    for number in range(count):
        asked = random.sample(programs, min(len(programs), random.randint(1, MOST_PROGRAMS)))
        device = {"id": f"d-{workspace}-{number}", **draw_profile(random)}
        versions = {program: random.choice(INSTALLED) for program in asked}
        questions.append({"workspace": workspace, "device": device, "programs": versions})
    return questions


def make_request(question: Json) -> bytes:
    """Returns the request that asks it."""
    body = orjson.dumps(question)
    head = f"Host: edge\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return f"POST /v1/check HTTP/1.1\r\n{head}".encode() + body
