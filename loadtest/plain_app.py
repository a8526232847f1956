"""The plain aiohttp application that the bench compares the edge with: what a competent developer writes in a day.

A `web.Application` with one route, orjson, uvloop, documents compiled to closures before the first request, no access
log. It knows nothing of Redis, signatures or the edge's lane; its answers are held to the oracle like the edge's.

    python -m loadtest.plain_app DOCUMENTS PORT

DOCUMENTS is a JSON file: {"workspace", "revision", "root", "documents": {program: published document}}.
"""

import gc
import sys
import time
from pathlib import Path
from typing import Any

import orjson
import uvloop
from aiohttp import web

from loadtest.rule import DEFAULT_POLL_AFTER_S, PlainProgram, compile_program, decide, read_version, spread_poll

Json = dict[str, Any]

# A question has a few hundred bytes; whoever sends more wants memory.
MAX_BODY_BYTES = 64 * 1024
MAX_PROGRAMS = 200
PLATFORMS = frozenset({"android", "ios", "harmony"})


class QuestionError(Exception):
    """A question that cannot be answered; its arguments are the HTTP status, a code and a message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class PlainApp:
    """Answers checks about one workspace.

    Args:
        source: what the documents file holds.
    """

    def __init__(self, source: Json) -> None:
        self._workspace: str = source["workspace"]
        self._revision: int = source["revision"]
        self._root: int = source["root"]
        self._programs = {one["program"]: compile_program(one) for one in source["documents"].values()}

    async def handle(self, request: web.Request) -> web.Response:
        """Answers `POST /v1/check`."""
        try:
            question = self._parse(await request.read())
        except QuestionError as error:
            body = orjson.dumps({"error": {"code": error.code, "message": str(error)}})
            return web.Response(body=body, status=error.status, content_type="application/json")
        answer = self.answer(question, int(time.time()))
        return web.Response(body=orjson.dumps(answer), content_type="application/json")

    def answer(self, question: Json, now: int) -> Json:
        """Returns the answer to a question that has been checked; `now` is in seconds since 1970."""
        device = question["device"]
        updates: list[Json] = []
        unknown: list[str] = []
        intervals: list[int] = []
        for name, installed in question["programs"].items():
            program = self._programs.get(name)
            if program is None:
                unknown.append(name)
                continue
            intervals.append(program.poll_after_s)
            update = find_update(program, device, installed, now)
            if update is not None:
                updates.append(update)
        poll_after = spread_poll(min(intervals, default=DEFAULT_POLL_AFTER_S), device["id"], now)
        answer: Json = {"revision": self._revision, "root": self._root, "poll_after": poll_after, "updates": updates}
        if unknown:
            answer["unknown"] = unknown
        return answer

    def _parse(self, body: bytes) -> Json:
        try:
            question = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise QuestionError(400, "malformed_json", f"expected JSON: {error}") from None
        check_question(question)
        if question["workspace"] != self._workspace:
            raise QuestionError(404, "unknown_workspace", "no such workspace")
        return question  # type: ignore[no-any-return] # checked to be one


def check_question(question: Any) -> None:
    """Returns where a question has what an answer needs.

    Raises:
        QuestionError: a required member is missing or of another type.
    """
    if not isinstance(question, dict):
        raise QuestionError(400, "bad_field", "expected an object")
    device, programs = question.get("device"), question.get("programs")
    if not isinstance(device, dict) or not isinstance(device.get("id"), str) or not device["id"]:
        raise QuestionError(400, "missing_field", "expected device.id")
    if device.get("platform") not in PLATFORMS:
        raise QuestionError(400, "bad_field", "expected device.platform to be android, ios or harmony")
    if not isinstance(programs, dict) or not programs or not isinstance(question.get("workspace"), str):
        raise QuestionError(400, "missing_field", "expected workspace and programs")
    if len(programs) > MAX_PROGRAMS:
        raise QuestionError(400, "too_many_programs", f"expected at most {MAX_PROGRAMS} programs, got {len(programs)}")


def find_update(program: PlainProgram, device: Json, installed: str, now: int) -> Json | None:
    """Returns what to tell a device about a program, None where there is nothing to do."""
    version = read_version(installed) if installed else None
    release = decide(program, device, version)
    if release is None or release.version == version or program.offers_expire <= now:
        return None
    return release.update


def make_application(source: Json) -> web.Application:
    """Returns the application, with its one route."""
    application = web.Application(client_max_size=MAX_BODY_BYTES)
    application.router.add_post("/v1/check", PlainApp(source).handle)
    return application


def main(path: str, port: str) -> None:
    """Serves on the loopback interface until it is ended."""
    application = make_application(orjson.loads(Path(path).read_bytes()))
    gc.collect()
    gc.freeze()  # the documents stay: the collector need not walk through them again and again
    web.run_app(
        application, host="127.0.0.1", port=int(port), access_log=None, print=None, loop=uvloop.new_event_loop()
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
