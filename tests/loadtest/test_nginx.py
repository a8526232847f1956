"""nginx answers with the bytes that it was given."""

import asyncio
from pathlib import Path

import pytest

from loadtest.client import ask_one
from loadtest.nginx import find_worker, render_config, start_nginx
from loadtest.process import list_children, pick_port

BODY = b'{"revision":1,"root":1,"poll_after":300,"updates":[]}'


@pytest.mark.usefixtures("load_tools")
def test_it_answers_every_question_with_the_same_bytes(tmp_path: Path) -> None:
    """A check gets the body as JSON, from the one worker."""
    port = pick_port()
    server = start_nginx(tmp_path / "nginx", port, BODY)
    try:
        request = b"POST /v1/check HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}"
        answer = asyncio.run(ask_one(port, request))
        assert (answer.status, answer.body) == (200, BODY)
        assert b"Content-Type: application/json\r\n" in answer.head
        assert list_children(server.pid) == [find_worker(server)]
    finally:
        server.stop()


@pytest.mark.parametrize("body", [b"it's", b"$1", b"\\"])
def test_a_body_that_nginx_would_read_is_refused(body: bytes) -> None:
    """Quotes, dollars and backslashes would not come out as they went in."""
    with pytest.raises(ValueError, match="expected a body without quote, backslash and dollar"):
        render_config(Path("/tmp"), 1, body)
