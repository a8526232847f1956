"""A steady stream of questions over many connections, as devices would ask, and what became of each.

Every answer is compared. A question that gets none is asked once more, on a new connection, as a device does.
"""

import http.client
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

PAUSE_S = 0.02
TIMEOUT_S = 20.0


@dataclass
class Outcome:
    """What became of the questions of one stream: counts, and of what went wrong what it was.

    `refused` are connections that could not be made; `cut` questions that got no answer at first, `lost` those that got
    none on a new connection either; `ended` connections whose last answer said so.
    """

    answered: int = 0
    refused: list[str] = field(default_factory=list)
    cut: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    wrong: list[Any] = field(default_factory=list)
    ended: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def note(self, *, is_last: bool) -> None:
        """Counts an answer, which may have said that it is the last of its connection."""
        with self.lock:
            self.answered += 1
            self.ended += is_last


class Asker:
    """A device, or a balancer's connection: asks again and again over one connection as long as that lives."""

    def __init__(self, address: str, question: Any, is_right: Callable[[Any], bool], outcome: Outcome) -> None:
        self._address, self._question, self._is_right, self._outcome = address, json.dumps(question), is_right, outcome
        self._connection: http.client.HTTPConnection | None = None
        self.is_told_to_go = False

    def ask(self) -> None:
        """Asks once, and once more where that fails."""
        for attempt in range(2):
            try:
                answer = self._ask()
            except (OSError, http.client.HTTPException) as error:
                self.close()
                (self._outcome.lost if attempt else self._outcome.cut).append(repr(error))
                continue
            if not self._is_right(answer):
                self._outcome.wrong.append(answer)
            return

    def close(self) -> None:
        """Ends the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask(self) -> Any:
        connection = self._connection or self._connect()
        connection.request("POST", "/v1/check", self._question, {"Content-Type": "application/json"})
        response = connection.getresponse()
        body = response.read()
        self._outcome.note(is_last=response.will_close)
        if response.will_close:
            self.is_told_to_go = True
            self.close()
        return json.loads(body) if response.status == http.HTTPStatus.OK else response.status

    def _connect(self) -> http.client.HTTPConnection:
        connection = self._connection = http.client.HTTPConnection(self._address, timeout=TIMEOUT_S)
        try:
            connection.connect()
        except OSError as error:
            self._outcome.refused.append(repr(error))
            raise
        return connection


@contextmanager
def stream(
    address: str, question: Any, is_right: Callable[[Any], bool], connections: int, *, reconnects: bool = True
) -> Iterator[Outcome]:
    """Asks by so many connections, all the time, until the block ends; what became of it is whole then.

    Where nobody reconnects, each ends when an answer has said that it is the last.
    """
    outcome, stop = Outcome(), threading.Event()

    def run() -> None:
        asker = Asker(address, question, is_right, outcome)
        while not stop.is_set() and (reconnects or not asker.is_told_to_go):
            asker.ask()
            stop.wait(PAUSE_S)
        asker.close()

    threads = [threading.Thread(target=run) for _ in range(connections)]
    for thread in threads:
        thread.start()
    try:
        yield outcome
    finally:
        stop.set()
        for thread in threads:
            thread.join()
