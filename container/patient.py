"""A container as it would start here, to be looked at: what it remembers, and what it hears when it asks, once.

Nothing is installed or remembered, and nothing believed that an update would not believe.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

from bundle import BundleError, verify_bytes
from container.chain import MAX_STEPS, Chain
from container.config import Config
from container.courier import MAX_ANSWER_S, MAX_TRANSFER_S, TIMEOUT_S
from container.decision import Held, Plan, is_stale, make_plan, read_offer, tell_time
from container.device import Device
from container.errors import ContainerError, EdgeError, NetworkError, StorageError, VerificationError
from container.fetcher import Fetcher, Response
from container.state import State
from container.storage import Storage
from container.wire import (
    MAX_ANSWER_BYTES,
    MAX_ERROR_BYTES,
    MAX_PROGRAMS,
    Answer,
    Transfer,
    Update,
    decode_answer,
    encode_question,
    explain_status,
)
from trust import Root, TrustError, read_successor

# Asked about where no program is known: no workspace has it, and an edge says so.
_NO_PROGRAM = "00000000"
_OK = 200
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "graywave-container"}


class HiddenError(Exception):
    """An earlier fault, or the lack of anything to look at, hides this; it is no fault of its own."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, whole, and the second at which it was there."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    at: float


@dataclass(frozen=True, slots=True)
class Heard:
    """What became of asking one address: an `answer`, or an `error`; `reply` where anybody answered at all."""

    address: str
    reply: Reply | None = None
    answer: Answer | None = None
    error: ContainerError | None = None


@dataclass(frozen=True, slots=True)
class Parcel:
    """A believed package, how it is moved, and where that is said to lie."""

    update: Update
    plan: Plan
    transfer: Transfer
    url: str


class Patient:
    """A container that is looked at.

    Args:
        config: whom it asks and believes.
        folder: where it keeps its programs.
        device: whom to ask for.
        programs: whose packages to look at; without any, those installed and those that the configuration names.
        fetcher: how to reach the network.
        now: seconds since 1970.
    """

    def __init__(
        self,
        config: Config,
        folder: Path,
        device: Device,
        programs: Sequence[str],
        *,
        fetcher: Fetcher,
        now: Callable[[], float],
    ) -> None:
        self.config = config
        self.folder = folder / config.folder_name
        self.storage = Storage(self.folder)
        self.programs = tuple(programs)
        self.now = now
        self._device = device
        self._fetcher = fetcher

    @cached_property
    def state(self) -> State:
        """What the container remembers; nothing where that cannot be read, which is the folder's fault alone."""
        try:
            return self.storage.load()
        except StorageError:
            return State()

    @property
    def signed_time(self) -> int:
        """The newest signed time that this device knows, in seconds."""
        return max(self.config.issued, self.state.issued)

    @property
    def time(self) -> int:
        """What an update would take for the time."""
        return tell_time(self.now(), self.signed_time)

    @cached_property
    def known_root(self) -> Root:
        """The newest root that this device knows."""
        return Chain(self.config, self.storage).root

    @cached_property
    def root(self) -> Root:
        """The newest root: those that edges tell of follow the known one, each verified.

        Raises:
            NetworkError, EdgeError: one that an edge tells of is not to be had.
            VerificationError: one does not follow.
        """
        told = [(heard.answer.root, heard.address) for heard in self.heard if heard.answer is not None]
        number, address = max(told, default=(0, ""))
        root = self.known_root
        for _ in range(min(number - root.number, MAX_STEPS)):
            root = self._fetch_successor(root, address)
        return root

    def _fetch_successor(self, root: Root, address: str) -> Root:
        url = f"{address}/v1/root/{root.number + 1}?workspace={self.config.workspace}"
        reply = self.ask("GET", url)
        if reply.status != _OK:
            raise explain_status(reply.status, reply.headers, reply.body)
        try:
            return read_successor(reply.body, root)
        except TrustError as error:
            raise VerificationError(f"{url}: {error}", "root_refused") from error

    @cached_property
    def asked(self) -> tuple[str, ...]:
        """The programs to ask about: at most as many as a check may have."""
        installed = [program for program, record in self.state.programs.items() if record.version]
        known = self.programs or (*self.config.defaults.programs, *installed)
        return tuple(dict.fromkeys(known))[:MAX_PROGRAMS]

    @cached_property
    def heard(self) -> tuple[Heard, ...]:
        """What each address says to a check, as if nothing was installed: so that there are offers to look at."""
        return tuple(self._hear(address) for address in self.config.edges)

    def _hear(self, address: str) -> Heard:
        asked = dict.fromkeys(self.asked or (_NO_PROGRAM,), "")
        try:
            reply = self.ask("POST", f"{address}/v1/check", encode_question(self.config.workspace, self._device, asked))
        except ContainerError as error:
            return Heard(address, error=error)
        if reply.status != _OK:
            return Heard(address, reply, error=explain_status(reply.status, reply.headers, reply.body))
        try:
            return Heard(address, reply, decode_answer(reply.body, list(asked)))
        except ContainerError as error:
            return Heard(address, reply, error=error)

    @property
    def answered(self) -> tuple[str, Answer]:
        """The first address that answered the check, and what it said.

        Raises:
            HiddenError: none did.
        """
        for heard in self.heard:
            if heard.answer is not None:
                return heard.address, heard.answer
        raise HiddenError("no address answers a check")

    @cached_property
    def parcels(self) -> list[Parcel]:
        """The packages offered, believed as an update would believe them.

        Raises:
            VerificationError, EdgeError: one is not to be believed, or the edge is behind.
            HiddenError: nobody answers.
        """
        address, answer = self.answered
        return [parcel for update in answer.updates for parcel in self._believe(update, address)]

    def _believe(self, update: Update, address: str) -> Iterator[Parcel]:
        offer = read_offer(update, self.config.workspace, self.root)
        held = Held("", self.state.record(update.program).order)
        if is_stale(offer, held, self.root.epoch):
            wanted, got = max(held.seen, (self.root.epoch, 0)), (offer.epoch, offer.revision)
            raise EdgeError(f"{update.program}: expected an offer not before {wanted}, got {got}: the edge is behind")
        plan = make_plan(update, offer, self.root, held, self.time)
        if plan.transfer is not None:
            url = plan.transfer.url
            yield Parcel(update, plan, plan.transfer, address + url if url.startswith("/") else url)

    def ask(self, method: str, url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Reply:
        """Returns a whole answer of at most MAX_ANSWER_BYTES.

        Raises:
            NetworkError: nobody answers, or not in time.
            EdgeError: the answer has no end.
        """
        with closing(self._fetch(method, url, body, headers or {})) as response:
            data = bytearray()
            for chunk in self._until(url, response, MAX_ANSWER_S):
                data += chunk
                if len(data) > MAX_ANSWER_BYTES:
                    raise EdgeError(f"{url}: expected an answer of at most {MAX_ANSWER_BYTES} bytes, got more")
        return Reply(response.status, response.headers, bytes(data), self.now())

    def carry(self, parcel: Parcel) -> Iterator[bytes]:
        """Yields a transfer from where it is said to lie; whoever uses it must be able to forget it.

        Raises:
            NetworkError, EdgeError: it is not there.
            VerificationError: what is there is something else; told at the end at the latest.
        """
        url, transfer = parcel.url, parcel.transfer
        with closing(self._fetch("GET", url, None, {})) as response:
            chunks = self._until(url, response, MAX_TRANSFER_S)
            if response.status != _OK:
                start = b"".join(islice(chunks, 1))
                raise explain_status(response.status, response.headers, start[:MAX_ERROR_BYTES])
            try:
                yield from verify_bytes(chunks, transfer.sha256, transfer.size, "the transfer")
            except BundleError as error:
                raise VerificationError(f"{url}: {error}", "transfer_refused") from error

    def _fetch(self, method: str, url: str, body: bytes | None, headers: Mapping[str, str]) -> Response:
        sent = {**_HEADERS, **({"Content-Type": "application/json"} if body else {}), **headers}
        return self._fetcher.fetch(method, url, sent, body, TIMEOUT_S)

    def _until(self, url: str, response: Response, limit_s: float) -> Iterator[bytes]:
        deadline = self.now() + limit_s
        for chunk in response.stream:
            if self.now() > deadline:
                raise NetworkError(f"{url}: expected the whole answer within {limit_s:.0f} s, got a part")
            yield chunk
