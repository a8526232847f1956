"""What the tests of the commands share: a running Graywave, the commands in this process, servers that say anything."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli.main import main
from tests.cli.running import Running

Run = Callable[..., Result]


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A Graywave with its demo programs, for tests that publish programs of their own."""
    with Running(tmp_path_factory.mktemp("running")) as running:
        yield running.wait_ready()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in an empty folder; what goes wrong in another way than by an exit code fails the test."""
    for name in ("GRAYWAVE_DATA", "GRAYWAVE_PORT", "GRAYWAVE_REDIS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, stdin: str | None = None) -> Result:
        result = CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture
def graywave(run: Run, running: Running) -> Run:
    """Runs a command with the data folder of the running Graywave."""
    return lambda command, *arguments, **given: run(*command.split(), "--data", running.data, *arguments, **given)


@pytest.fixture
def serve() -> Iterator[Callable[[int, bytes], str]]:
    """Starts a server that gives one answer to everything, and returns its address."""
    with ExitStack() as stack:

        def serve(status: int, body: bytes) -> str:
            class Answer(BaseHTTPRequestHandler):
                def do_GET(self) -> None:
                    self.rfile.read(int(self.headers.get("Content-Length", 0)))
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(body)))
                    self.send_header("Connection", "close")
                    self.end_headers()
                    self.wfile.write(body)

                do_POST = do_PUT = do_GET

                def log_message(self, *_: object) -> None:
                    """Says nothing."""

            server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), Answer))
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            return f"http://127.0.0.1:{server.server_address[1]}"

        yield serve
