"""`graywave up` as a user starts it, on free ports, with its folder for temporary files in sight."""

import itertools
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from tests.end_to_end.town import PATIENCE_S, ROOT, ask, eventually, is_running, list_children

COMMAND = (sys.executable, "-m", "cli", "up")


def find_ports() -> int:
    """Returns the first of three free ports, below those that the system gives out itself."""
    return next(port for port in iter(lambda: random.randrange(20_000, 32_000), 0) if are_free(port))


def are_free(port: int) -> bool:
    """Says whether nobody listens on this port and the next two."""
    try:
        for number in (port, port + 1, port + 2):
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", number))
    except OSError:
        return False
    return True


def list_descendants(pid: int) -> list[int]:
    """Returns the ids of a process's children and theirs."""
    return list(itertools.chain.from_iterable([child, *list_descendants(child)] for child in list_children(pid)))


class Running:
    """A `graywave up` that was started; `temporary` is its folder for temporary files.

    Args:
        folder: where everything of it goes; another one may have been started there before.
        arguments: of the command.
        environ: variables more than those of the tests.
        command: what to start instead.
        cwd: where.
    """

    def __init__(
        self,
        folder: Path,
        arguments: Sequence[str] = (),
        environ: Mapping[str, str] | None = None,
        command: Sequence[str] = COMMAND,
        cwd: Path = ROOT,
    ) -> None:
        self.data, self.temporary = folder / "data", folder / "tmp"
        self.temporary.mkdir(parents=True, exist_ok=True)
        self.port = find_ports()
        self.edge, self.admin, self.publisher = (f"127.0.0.1:{self.port + number}" for number in range(3))
        self._log = folder / "up.log"
        given = {"GRAYWAVE_PORT": str(self.port), "GRAYWAVE_DATA": str(self.data), "TMPDIR": str(self.temporary)}
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, *arguments],
                cwd=cwd,
                env=os.environ | given | (environ or {}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        """Everything that it has said."""
        return self._log.read_text("utf-8")

    def wait_ready(self) -> Self:
        """Returns once it says that it is ready; fails if it ends instead."""

        def look() -> bool:
            assert self.process.poll() is None, self.said
            return f"ready http://{self.edge}\n" in self.said and self.said.endswith("\n")

        eventually(look)
        return self

    def wait_everywhere(self, revision: int) -> None:
        """Returns once each of the edge's workers has a revision: whoever asks once has asked one of them."""

        def has_it() -> bool:
            status = ask(self.admin, "GET", "/status")[1]
            cursors = {worker["cursor"] for worker in status["workers"]}
            return bool(status["workspaces"]["demo"]["revision"] >= revision) and cursors == {status["row"]}

        eventually(has_it)

    def list_pids(self) -> list[int]:
        """Returns the ids of all its processes, its own first."""
        return [self.process.pid, *list_descendants(self.process.pid)]

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Sends it a signal and returns the exit code."""
        self.process.send_signal(how)
        return self.process.wait(PATIENCE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            pids = self.list_pids()
            self.process.kill()
            self.process.wait(PATIENCE_S)
            eventually(lambda: not any(is_running(pid) for pid in pids))
