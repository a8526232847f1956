"""How much of a processor a thread has wanted: what it ran, and what it waited for while others had its core."""

import os
import time

NANO = 1_000_000_000


class Pressure:
    """The thread that makes it, as Linux accounts for it; where that is not told, what it ran alone."""

    def __init__(self) -> None:
        try:  # opened once: where no descriptor is left, it is still read
            self._stat = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._stat = -1

    def read(self) -> float:
        """Returns the seconds that it has run, or was ready to run, since it began; to be asked in that thread."""
        if self._stat < 0:
            return time.thread_time()
        ran, waited, _ = os.pread(self._stat, 64, 0).split()
        return (int(ran) + int(waited)) / NANO

    def close(self) -> None:
        """Closes what it reads from."""
        if self._stat >= 0:
            os.close(self._stat)
            self._stat = -1
