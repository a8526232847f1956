"""Processes that end with the one that started them, however it ends; what they do is not known here."""

import ctypes
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

PR_SET_PDEATHSIG = 1
# An orderly stop that takes longer is none, in seconds.
STOP_TIMEOUT_S = 20.0

# Looked up here: between fork and exec nothing may be loaded.
_prctl = ctypes.CDLL(None).prctl


def start_bound(
    command: Sequence[str | Path],
    output: IO[bytes] | int = subprocess.DEVNULL,
    environ: Mapping[str, str] | None = None,
) -> "subprocess.Popen[bytes]":
    """Starts a process that Linux ends (SIGTERM) when this thread ends (prctl(2), PR_SET_PDEATHSIG).

    It is in a session of its own: an interrupt of the terminal reaches this process alone, which stops it in order.

    Args:
        command: what to run; its standard input is empty.
        output: where both its outputs go.
        environ: its environment, by default this process's.

    Raises:
        OSError: it cannot be started.
    """
    parent = os.getpid()

    def bind() -> None:
        _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it has ended already, and nobody will tell
            os._exit(1)

    return subprocess.Popen(  # noqa: S603 - the callers name servers
        command,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
        preexec_fn=bind,  # noqa: PLW1509 - it makes two system calls and takes no lock
    )


def end(process: "subprocess.Popen[bytes]", how: signal.Signals = signal.SIGTERM) -> None:
    """Ends a process, in good order if it heeds the signal within STOP_TIMEOUT_S, and returns once it is gone."""
    process.send_signal(how)
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def take_stops() -> None:
    """A closed terminal and a service manager stop as an interrupt does; nohup's wish is heeded."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
