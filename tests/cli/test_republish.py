"""`graywave republish`: its two ways, and what it says where neither leads anywhere."""

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from click.testing import CliRunner, Result

from channel import Position
from cli import republish as module
from cli.embedded import PrivateRedis
from cli.exit import Exit
from cli.main import main
from edge.cache import Cache
from tests.edge.press import ROOT_BYTES, WORKSPACE, sign_head

Run = Callable[..., Result]


@pytest.fixture
def run() -> Run:
    """Runs the command with these words."""
    return lambda *words: CliRunner().invoke(main, ["republish", *map(str, words)])


@pytest.fixture
def answers() -> list[bool]:
    """What the publisher says, look by look, of whether Redis has everything; the last of it from then on."""
    return [False, True]


@pytest.fixture
def publisher(answers: list[bool]) -> Iterator[str]:
    """The address of somebody who answers as a publisher's /healthz."""

    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            body = json.dumps({"status": "ok", "distributed": answer, "pending": 0}).encode()
            self.send_response(200 if self.path == "/healthz" else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Health) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_publisher_is_waited_for(
    run: Run, publisher: str, answers: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A publisher refills by itself: the command returns when it says that it has."""
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0)
    done = run("--publisher", publisher)
    assert (done.exit_code, done.output) == (0, "the publisher says that redis has all that it has published\n")
    assert answers == [True]


def test_publisher_that_cannot_is_told(
    run: Run, publisher: str, answers: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A publisher that does not get there in time is not waited for without end."""
    monkeypatch.setattr(module, "PATIENCE_S", 0)
    answers[:] = [False]
    done = run("--publisher", publisher)
    assert done.exit_code == Exit.FAILED
    assert "could not bring redis to where it is within 0 s: its log says why" in done.output


@pytest.fixture
def words(tmp_path: Path, redis_server: PrivateRedis) -> list[object]:
    """The words by which an edge's folder fills a Redis."""
    (tmp_path / "root.json").write_bytes(ROOT_BYTES)
    return ["--edge", tmp_path, "--root", tmp_path / "root.json", "--redis", redis_server.url]


def test_edge_is_taken(run: Run, words: list[object], tmp_path: Path) -> None:
    """What an edge has is put back, and told as JSON too; a Redis that is further is left, with a code of its own."""
    cache = Cache(tmp_path)
    cache.write_head(WORKSPACE, sign_head(Position(1, 7), 0))
    done = run(*words, "--json")
    found = json.loads(done.stdout)
    assert (done.exit_code, found["position"], found["documents"]) == (0, "1-7", 0)
    cache.write_head(WORKSPACE, sign_head(Position(1, 6), 0))
    cache.close()
    done = run(*words)
    assert done.exit_code == Exit.REFUSED
    assert "redis is at 1-7, further than 1-6 here: left as it is" in done.stderr


def test_edge_that_has_nothing(run: Run, words: list[object], redis_server: PrivateRedis, tmp_path: Path) -> None:
    """A folder without a file, a file without a head, a root that is none, a Redis that is away."""
    assert run(*words).exit_code == Exit.FAILED
    cache = Cache(tmp_path)
    assert run(*words).exit_code == Exit.UNVERIFIED
    cache.write_head(WORKSPACE, sign_head(Position(1, 7), 0))
    cache.close()
    redis_server.kill()
    assert run(*words).exit_code == Exit.UNREACHABLE
    (tmp_path / "root.json").write_bytes(b"{}")
    assert run(*words).exit_code == Exit.UNVERIFIED


@pytest.mark.parametrize("left_out", ["--edge", "--root", "--redis", "all"])
def test_half_a_way_is_refused(run: Run, words: list[object], left_out: str) -> None:
    """Neither way, or half of one, is wrong usage."""
    at = 6 if left_out == "all" else words.index(left_out)
    done = run(*(words[6:] if left_out == "all" else [*words[:at], *words[at + 2 :]]))
    assert done.exit_code == Exit.USAGE
    assert run(*words, "--publisher", "http://127.0.0.1:1").exit_code == Exit.USAGE
