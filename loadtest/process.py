"""Starting, pinning and ending the servers and tools of a measurement: none outlives the bench, however it ends."""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from loadtest.errors import ServerError, ToolError

# How long a server may take to be ready, and to end when it is asked to, in seconds.
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0
POLL_S = 0.02
PR_SET_PDEATHSIG = 1
# How much of a failed server's output is shown.
SHOWN_CHARS = 2_000
# Where Debian puts servers, and where a user's PATH often does not look.
SYSTEM_PATH = "/usr/sbin:/usr/local/sbin:/sbin"


def find_tool(package: str, *names: str) -> str:
    """Returns the path of the first of these programs that is installed.

    Raises:
        ToolError: none is; names the package of Debian that has one.
    """
    for name in names:
        found = shutil.which(name) or shutil.which(name, path=SYSTEM_PATH)
        if found:
            return found
    raise ToolError(f"{' or '.join(names)} is not installed (Debian: apt-get install {package})")


def pick_cores(allowed: Sequence[int]) -> tuple[int, int]:
    """Returns the core of the load and the core of the server under test.

    Raises:
        ToolError: there is only one.
    """
    if len(allowed) < 2:  # noqa: PLR2004 - one for each side
        raise ToolError("server and load need a core each, this process may use only one")
    ordered = sorted(allowed)
    return ordered[0], ordered[-1]


def pin(pid: int, *cores: int) -> None:
    """Keeps a process, with all threads that it has now, on these cores."""
    with suppress(ProcessLookupError, FileNotFoundError):  # it, or a thread of it, has just ended
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), cores)


def list_children(pid: int) -> list[int]:
    """Returns the ids of a process's children."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []  # it has just ended


def pick_port() -> int:
    """Returns a TCP port of the loopback interface that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def await_port(port: int, server: "Server") -> None:
    """Returns once a server accepts connections on a port.

    Raises:
        ServerError: it ended, or START_TIMEOUT_S were over.
    """

    def accepts() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    await_ready(accepts, server)


def await_ready(is_ready: Callable[[], bool], server: "Server") -> None:
    """Returns once a question about a server is answered with yes.

    Raises:
        ServerError: the server ended, or START_TIMEOUT_S were over.
    """
    deadline = time.monotonic() + START_TIMEOUT_S
    while not is_ready():
        if not server.is_running():
            raise ServerError(f"{server.name} ended with code {server.exit_code} at its start{server.show_output()}")
        if time.monotonic() > deadline:
            raise ServerError(f"{server.name} was not ready within {START_TIMEOUT_S:.0f} s{server.show_output()}")
        time.sleep(POLL_S)


class Server:
    """One process, in a group of its own, that ends with the bench.

    Args:
        name: what messages call it.
        command: program and arguments.
        log: the file that takes what it writes.
        environment: its whole environment; this process's where not given.
    """

    def __init__(
        self, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self._log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - one prctl call, before any thread exists
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """Its exit code, None while it runs."""
        return self._process.poll()

    def is_running(self) -> bool:
        """Says whether it has not ended."""
        return self._process.poll() is None

    def show_output(self) -> str:
        """Returns the end of what it has written, to be put behind a message."""
        text = self._log.read_text(errors="replace").strip()
        return f":\n{text[-SHOWN_CHARS:]}" if text else ""

    def stop(self) -> None:
        """Ends it in good order, and its whole group by force where that takes too long."""
        if self.is_running():
            self._process.terminate()
        try:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_TIMEOUT_S)
        finally:
            self._kill_group()
            self._process.wait()

    def kill(self) -> None:
        """Ends it at once, as a crash would."""
        self._process.kill()
        self._process.wait()

    def _kill_group(self) -> None:
        with suppress(ProcessLookupError):  # the usual case: nobody is left
            os.killpg(self._process.pid, signal.SIGKILL)


def die_with_parent() -> None:
    """Asks Linux to end this process when its parent ends, however it ends: prctl(2), PR_SET_PDEATHSIG."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
