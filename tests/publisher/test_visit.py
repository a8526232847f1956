"""Visits: a file is what the document says of it, at its public address, in time, or the document is not published."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from publisher.draft import read_author
from publisher.errors import BadDocumentError, StoreError
from publisher.store import Place
from publisher.visit import AT_ONCE, Patience, Visitor, check_base, list_places

PROGRAM = "2021000000000001"
BODY = bytes(range(256)) * 1_000
SHA256 = hashlib.sha256(BODY).hexdigest()
PATIENCE = Patience()
PATH = "$.packages['1.0.0.0'].transfers[0].url"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Cdn:
    """A file server that does to each path what a test says, and counts who is there."""

    def __init__(self) -> None:
        self.handlers: dict[str, Handler] = {}
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.busy = 0
        self.busiest = 0
        self.url = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answers the file, unless there is another handler for the path."""
        self.asked.append(request.path)
        self.headers.append(dict(request.headers))
        self.busy += 1
        self.busiest = max(self.busiest, self.busy)
        try:
            return await self.handlers.get(request.path, answer_file)(request)
        finally:
            self.busy -= 1

    def place(self, path: str = "/file", size: int = len(BODY), sha256: str = SHA256) -> Place:
        """A file of this server."""
        return Place(self.url + path, size, sha256)


async def answer_file(_: web.Request) -> web.Response:
    return web.Response(body=BODY)


async def answer_other(_: web.Request) -> web.Response:
    return web.Response(body=BODY[:-1] + b"x")


async def answer_short(_: web.Request) -> web.Response:
    return web.Response(body=BODY[:-1])


async def answer_long(_: web.Request) -> web.Response:
    return web.Response(body=BODY + b"x")


async def answer_short_in_chunks(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(BODY[:-1])
    await response.write_eof()
    return response


async def answer_endlessly(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(BODY)


async def answer_in_part(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": str(len(BODY))})
    await response.prepare(request)
    await response.write(BODY[:1000])
    assert request.transport
    request.transport.close()
    return response


async def answer_compressed(_: web.Request) -> web.Response:
    response = web.Response(body=BODY)
    response.headers["Content-Encoding"] = "gzip"
    return response


async def answer_elsewhere(_: web.Request) -> web.Response:
    return web.Response(status=302, headers={"Location": "/file"})


async def answer_range(_: web.Request) -> web.Response:
    return web.Response(status=206, body=BODY)


async def answer_never(_: web.Request) -> web.Response:
    await asyncio.Event().wait()
    raise AssertionError


@pytest.fixture
async def cdn() -> AsyncIterator[Cdn]:
    """A real HTTP server on the loop-back."""
    cdn = Cdn()
    app = web.Application()
    app.router.add_get("/{path:.*}", cdn.answer)
    async with TestServer(app) as server:
        cdn.url = str(server.make_url("")).rstrip("/")
        yield cdn


async def visit(*places: Place, patience: Patience = PATIENCE) -> list[Place]:
    """Visits places; returns those that were noted as right."""
    noted: list[Place] = []

    async def note(place: Place) -> None:
        noted.append(place)

    async with Visitor(patience) as visitor:
        await visitor.visit({place: f"$[{index}]" for index, place in enumerate(places)}, note)
    return noted


async def test_right_file_is_noted(cdn: Cdn) -> None:
    """A file of the stated size and digest will do, with or without its length said ahead; it comes as it is stored."""
    assert await visit(cdn.place()) == [cdn.place()]
    (headers,) = cdn.headers
    assert headers["Accept-Encoding"] == "identity"
    assert not {"Authorization", "Cookie"} & headers.keys()


@pytest.mark.parametrize(
    ("handler", "got"),
    [
        (answer_other, "other bytes"),
        (answer_short, "255999 bytes"),
        (answer_long, "256001 bytes"),
        (answer_short_in_chunks, "255999 bytes"),
        (answer_endlessly, "more bytes"),
        (answer_in_part, "a part (ClientPayloadError)"),
        (answer_compressed, "content encoding 'gzip'"),
        (answer_elsewhere, "status 302"),
        (answer_range, "status 206"),
    ],
)
async def test_wrong_file_is_refused(cdn: Cdn, handler: Handler, got: str) -> None:
    """Whatever else comes is told, with the place in the document; a redirect is not followed."""
    cdn.handlers["/file"] = handler
    with pytest.raises(BadDocumentError) as caught:
        await visit(cdn.place())
    assert caught.value.path == "$[0]"
    assert caught.value.message == f"expected 256000 bytes of sha256 {SHA256} at {cdn.url}/file, got {got}"
    assert cdn.asked == ["/file"]


async def test_absent_file_is_refused(cdn: Cdn) -> None:
    """A file that is not there, at a server that is, or at none."""

    async def answer_not_found(_: web.Request) -> web.Response:
        return web.Response(status=404)

    cdn.handlers["/file"] = answer_not_found
    with pytest.raises(BadDocumentError, match=r", got status 404$"):
        await visit(cdn.place())
    with pytest.raises(BadDocumentError, match=r", got no answer \(ClientConnector"):
        await visit(Place("http://127.0.0.1:1/file", 1, SHA256))


async def test_silent_server_is_given_up(cdn: Cdn) -> None:
    """A server that says nothing for too long has no file."""
    cdn.handlers["/file"] = answer_never
    with pytest.raises(BadDocumentError, match=r", got no answer \(SocketTimeoutError\)$"):
        await visit(cdn.place(), patience=Patience(silence_s=0.05))


async def test_slow_files_are_given_up_together(cdn: Cdn) -> None:
    """All files have one time; those that came are noted, and the first that did not is named."""

    async def trickle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"x")
        return await answer_never(request)

    cdn.handlers["/slow"] = trickle
    right, slow = cdn.place(), cdn.place("/slow")
    noted: list[Place] = []

    async def note(place: Place) -> None:
        noted.append(place)

    async with Visitor(Patience(total_s=1)) as visitor:
        with pytest.raises(BadDocumentError) as caught:
            await visitor.visit({right: "$.right", slow: "$.slow", cdn.place("/slow", 1 << 30): "$.too"}, note)
    assert caught.value.path == "$.slow"
    wanted = "expected all files of the document within 1 s, got not this one; those that came need not come again"
    assert caught.value.message == wanted
    assert noted == [right]


async def test_few_are_fetched_at_once(cdn: Cdn) -> None:
    """A document with many files does not fall upon a server with all of them, and each is fetched."""

    async def wait(request: web.Request) -> web.Response:
        # Long enough for the loop to bring one too many.
        for _ in range(200):
            await asyncio.sleep(0)
        return await answer_file(request)

    places = [cdn.place(f"/{number}") for number in range(12)]
    cdn.handlers = dict.fromkeys([f"/{number}" for number in range(12)], wait)
    assert set(await visit(*places)) == set(places)
    assert cdn.busiest == AT_ONCE == 4


async def test_first_failure_ends_the_visit(cdn: Cdn) -> None:
    """Nobody waits for files of a document that is refused already."""
    cdn.handlers = {"/never": answer_never, "/short": answer_short}
    with pytest.raises(BadDocumentError) as caught:
        await visit(cdn.place("/never"), cdn.place("/short"))
    assert caught.value.path == "$[1]"


async def test_failure_to_remember_is_told(cdn: Cdn) -> None:
    """What the store cannot keep is no success."""

    async def fail(_: Place) -> None:
        raise StoreError("the store failed")

    async with Visitor() as visitor:
        with pytest.raises(StoreError):
            await visitor.visit({cdn.place(): "$"}, fail)


def package(workshop: Any, *urls: str, version: str = "1.0.0.0") -> Any:
    """A package with a transfer at each of these addresses."""
    transfers = [{"format": "zstd", "url": url, "size": 190, "sha256": "7f" * 32} for url in urls]
    return workshop.package(version, transfers=transfers)


def places(workshop: Any, base: str, *urls: str) -> dict[str, str]:
    """Address and path of each place of a document whose package lies at these addresses."""
    document = workshop.document(packages={"1.0.0.0": package(workshop, *urls)})
    found = list_places(read_author(orjson.dumps(document), PROGRAM), base)
    assert all((place.size, place.sha256) == (190, "7f" * 32) for place in found)
    return {place.url: path for place, path in found.items()}


def test_places_are_where_devices_look(workshop: Any) -> None:
    """An address with a host stands for itself; a path is looked for at the base."""
    found = places(workshop, "https://cdn.example/w", "/v1/files/a", "https://other.example:8443/b?sig=x%2Fy")
    assert found == {
        "https://cdn.example/w/v1/files/a": PATH,
        "https://other.example:8443/b?sig=x%2Fy": PATH.replace("[0]", "[1]"),
    }


def test_one_file_is_one_place(workshop: Any) -> None:
    """What is named twice is fetched once."""
    assert places(workshop, "https://cdn.example", "/a", "https://cdn.example/a") == {"https://cdn.example/a": PATH}


def test_files_of_ended_releases_are_not_looked_for(workshop: Any) -> None:
    """Only what a release may give has to be there: neither loose packages nor those of ended releases."""
    versions = ("1.0", "2.0", "3.0", "4.0")
    packages = {version: package(workshop, f"/{version}", version=version) for version in versions}
    states = {"1.0": "live", "2.0": "paused", "3.0": "ended"}
    releases = [{"id": version, "package": version, "state": state} for version, state in states.items()]
    author = read_author(orjson.dumps(workshop.document(*releases, packages=packages)), PROGRAM)
    assert [place.url for place in list_places(author, "http://cdn.example")] == [
        "http://cdn.example/1.0",
        "http://cdn.example/2.0",
    ]


def test_path_needs_a_base(workshop: Any) -> None:
    """Without knowing where devices look, the publisher cannot look there."""
    with pytest.raises(BadDocumentError) as caught:
        places(workshop, "", "https://cdn.example/a", "/v1/files/a")
    assert caught.value.path == PATH.replace("[0]", "[1]")
    wanted = "expected an address with a host, since the publisher knows no files, got '/v1/files/a'"
    assert caught.value.message == wanted


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://cdn.example/a",
        "//cdn.example/a",
        "a",
        "https://",
        "https:///a",
        "https://user@cdn.example/a",
        "https://user:pw@cdn.example/a",
        "https://cdn.example/a#b",
        "https://cdn.example/a b",
        "https://cdn.example/a\\b",
        "https://cdn.example/ä",
        "https://cdn.example:port/a",
        "https://cdn.example:99999/a",
    ],
)
def test_other_addresses_are_refused(workshop: Any, url: str) -> None:
    """What is no plain http(s) address is not asked for."""
    with pytest.raises(BadDocumentError) as caught:
        places(workshop, "https://cdn.example", url)
    wanted = "expected a path or an http(s) address without user and fragment"
    assert str(caught.value) == f"{PATH}: {wanted}, got {url!r}"


@pytest.mark.parametrize("base", ["https://cdn.example", "http://127.0.0.1:8080", "https://cdn.example/graywave"])
def test_base_is_taken(base: str) -> None:
    """A base is an address that a path can be put behind."""
    check_base(base)


@pytest.mark.parametrize(
    "base", ["cdn.example", "https://cdn.example/", "/files", "file:///srv", "https://u@cdn.example"]
)
def test_base_is_refused(base: str) -> None:
    """Anything else is a mistake of the operator's."""
    with pytest.raises(ValueError, match=r"^expected files like https://cdn.example, without a slash at the end, got "):
        check_base(base)
