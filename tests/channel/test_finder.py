"""Redis as operators have it: sentinels and clusters whose servers die, TLS, users who may do only what they must."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, ExitStack, aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from urllib.parse import quote

import pytest
from redis.exceptions import AuthenticationError, NoPermissionError
from redis.exceptions import ConnectionError as RedisConnectionError

from channel import (
    DOCUMENT_TYPE,
    NOWHERE,
    Answer,
    Asked,
    Change,
    Changes,
    DocumentName,
    Feed,
    Hint,
    Keys,
    Known,
    LinkAwayError,
    Patience,
    Position,
    Published,
    SealedDocument,
    Sender,
    Silences,
    Windows,
    check_policy,
    connect,
    encode_head,
    make_head,
    seal,
)
from channel.address import Seat
from channel.finder import Finder, read_master, read_slots
from tests.channel.servers import PATIENCE_S, Certificates, Cluster, Sentinels, Server, list_binaries
from trust import PrivateKey

WORKSPACE = "demo"
NAME = DocumentName("program", "p1")
PATIENCE = Patience(answer_s=2, silence_s=1)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Ends what a test has started."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def binary() -> Path:
    """The oldest Redis of this machine; hosts go through this with the newest (tests/end_to_end/test_cluster)."""
    return min(list_binaries().items())[1]


class Wire:
    """Publisher and reader of a workspace, each at an address of its own."""

    def __init__(self, publishing: str, reading: str, key: PrivateKey) -> None:
        self._key = key
        self.client = connect(publishing, 2, WORKSPACE)
        self.sender = Sender(self.client, WORKSPACE)
        self.feed = Feed(reading, WORKSPACE, {key.kid: key.public}, patience=PATIENCE)
        self.position = NOWHERE

    def seal(self, position: Position) -> SealedDocument:
        """The document of a position."""
        envelope = seal(str(position).encode(), self._key, DOCUMENT_TYPE)
        return SealedDocument(NAME, position, envelope)

    async def publish(self) -> None:
        """Publishes the next document; again, while somebody takes over."""
        position = Position(1, self.position.revision + 1)
        head = encode_head(make_head(WORKSPACE, position, documents=1, now=1_000), self._key)
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    outcome = await self.sender.publish(self.seal(position), head, self.position)
                except LinkAwayError:
                    await asyncio.sleep(0.02)
                    continue
                assert outcome == Published()
                self.position = position
                return

    async def read(self) -> None:
        """Reads what was published last."""
        head = await self.feed.read_head()
        assert head is not None
        assert head.position == self.position
        before = Position(1, head.revision - 1)
        assert await self.feed.changes_since(before, head.position) == Changes(
            (Change(head.position, NAME),), head.position
        )
        assert await self.feed.index(1) == {NAME: head.position}
        (envelope,) = await self.feed.fetch([NAME])
        assert (envelope or b"").endswith(str(head.position).encode())

    async def close(self) -> None:
        """Ends both."""
        await self.client.aclose()
        await self.feed.close()


async def follow_failover(wire: Wire, fail_over: Callable[[], None]) -> None:
    """Publishes and reads, before a server dies and after; hints come from both."""
    await wire.publish()
    async with aclosing(wire.feed.subscribe()) as hints:
        assert await anext(hints) is Hint.SUBSCRIBED
        await wire.publish()
        assert await anext(hints) is Hint.CHANGED
        await wire.read()
        fail_over()
        await wire.publish()
        # By a new subscription, or, where the other node lives, by its hint.
        await anext(hints)
        await wire.read()
    await wire.close()


async def test_sentinels_lead_to_the_next_server(
    binary: Path, tmp_path: Path, stack: ExitStack, key: PrivateKey
) -> None:
    """When a server dies, publisher and reader find the one that takes over."""
    sentinels = Sentinels(binary, tmp_path, stack)
    await follow_failover(Wire(sentinels.url, sentinels.url, key), sentinels.fail_over)


async def test_cluster_leads_to_the_next_server(
    binary: Path, tmp_path: Path, stack: ExitStack, key: PrivateKey
) -> None:
    """In a cluster a workspace is published and read where its keys are, also when that server dies."""
    cluster = Cluster(binary, tmp_path, Keys.of(WORKSPACE).head, stack)
    await follow_failover(Wire(cluster.url, cluster.url, key), cluster.fail_over)


PASSWORDS = {"PUBLISHER": "of the publisher", "EDGE": "of the edge"}
CONFIG = Path(__file__).parents[2] / "config" / "redis"


def write_users(folder: Path, version: str) -> Path:
    """Fills in the users' file of a version, as docs/redis.md says."""
    text = (CONFIG / f"users-{version}.acl").read_text("utf-8").replace("WORKSPACE", WORKSPACE)
    for name, password in PASSWORDS.items():
        text = text.replace(f"{name}_SHA256", hashlib.sha256(password.encode()).hexdigest())
    path = folder / "users.acl"
    path.write_text(text, "utf-8")
    return path


@pytest.fixture(params=sorted(list_binaries()))
def guarded(request: pytest.FixtureRequest, tmp_path: Path, stack: ExitStack) -> Server:
    """Each Redis, with the users of the file for it; its own client is nobody."""
    users = write_users(tmp_path, request.param)
    server = Server(list_binaries()[request.param], tmp_path / "server", [f"aclfile {users}"]).start(is_open=False)
    stack.callback(server.end)
    return server


def name_user(server: Server, name: str, scheme: str = "redis") -> str:
    """The address of a server, with one of its users."""
    return f"{scheme}://{name}:{quote(PASSWORDS[name.upper()])}@{server.seat}"


async def test_users_may_do_what_they_must(guarded: Server, key: PrivateKey) -> None:
    """With the users of config/redis, publisher and edge do all that they ever ask of Redis."""
    wire = Wire(name_user(guarded, "publisher"), name_user(guarded, "edge"), key)
    assert await check_policy(wire.client)
    await follow_failover(wire, lambda: None)
    wire = Wire(name_user(guarded, "publisher"), name_user(guarded, "edge"), key)
    assert await wire.sender.put_root(1, b"a root") == Published()
    assert await wire.feed.fetch_root(1) == b"a root"
    assert await wire.feed.count() == 1
    found = await wire.feed.find_head()
    assert found is not None
    assert await wire.sender.discard(found)
    position = Position(1, 9)
    head = encode_head(make_head(WORKSPACE, position, documents=1, now=1_000), key)
    assert await wire.sender.restore([wire.seal(position)], position, head) == Published()
    assert await wire.feed.index() == {NAME: position}
    await wire.close()


FORBIDDEN = [
    "FLUSHALL", "FLUSHDB", "CONFIG GET maxmemory", "CONFIG SET maxmemory 1", "KEYS *", "SCAN 0", "ACL LIST", "SHUTDOWN",
    "MONITOR", "SAVE", "REPLICAOF NO ONE", "CLIENT LIST", "SCRIPT FLUSH", "EVAL x 0", "RANDOMKEY", "SWAPDB 0 1",
    "GET gw:{other}:doc:program:p1", "HMGET gw:{other}:head signed", "SUBSCRIBE gw:{other}:changed", "PSUBSCRIBE *",
    "PUBLISH gw:{other}:changed 1-1", "GET something", "MIGRATE 127.0.0.1 1 gw:{demo}:head 0 1",
]  # fmt: skip
FORBIDDEN_TO_EDGES = [
    "SET gw:{demo}:doc:program:p1 x", "DEL gw:{demo}:head", "XADD gw:{demo}:log * a b", "UNLINK gw:{demo}:index",
    "PUBLISH gw:{demo}:changed 1-1", "RENAME gw:{demo}:head gw:{demo}:windows", "EXPIRE gw:{demo}:head 1",
    "SET gw:{demo}:root:2 x",
]  # fmt: skip
# In Redis 6.2 a user has one list of keys for all of its commands.
FORBIDDEN_TO_EDGES_OF_7 = ["HSET gw:{demo}:head signed x", "HDEL gw:{demo}:index program:p1", "ZADD gw:{demo}:log 1 a"]


async def test_users_may_do_nothing_else(guarded: Server, request: pytest.FixtureRequest) -> None:
    """What would empty, stop or look through the whole Redis, or reach another workspace, is refused to both."""
    more = FORBIDDEN_TO_EDGES_OF_7 if "[7]" in request.node.name else []
    for name, commands in {"publisher": FORBIDDEN, "edge": [*FORBIDDEN, *FORBIDDEN_TO_EDGES, *more]}.items():
        client = connect(name_user(guarded, name), 2)
        for command in commands:
            with pytest.raises(NoPermissionError):
                await client.execute_command(*command.split(" "))
        await client.aclose()
    nobody = connect(f"redis://{guarded.seat}", 2)
    with pytest.raises(AuthenticationError):
        await nobody.get("gw:{demo}:head")
    await nobody.aclose()


async def test_edges_write_what_windows_need(guarded: Server) -> None:
    """An edge may keep the windows: admit, copy, and give back."""
    windows = Windows(connect(name_user(guarded, "edge"), 2), WORKSPACE, Silences(settle_s=0))
    entry = (await windows.beat("host-a", Known(), "")).entry
    assert await windows.give_back(entry, "00000000000000aa", [7])
    stand = await windows.beat("host-a", Known(), entry)
    asked = Asked("00000000000000aa", 2, 0, 1 << 40, 9, [7, 8])
    assert await windows.admit("host-a", entry, [asked]) == [[Answer.MEMBER, Answer.ADMITTED]]
    assert await windows.copy(stand, "00000000000000aa", 0) == [7]
    assert not (await windows.beat("host-a", Known(9, "another", "1", ()), entry)).is_open
    await windows.beat("host-a", Known(), "", leaves=True)
    await windows.close()


async def test_users_files_differ_in_what_6_2_cannot_say() -> None:
    """What is granted to one version's users is granted to the other's, but for the keys that edges may write."""
    newer, older = ((CONFIG / f"users-{version}.acl").read_text("utf-8") for version in ("7", "6.2"))
    shorter = newer.replace(" ~gw:{WORKSPACE}:windows ~gw:{WORKSPACE}:window:*", "")
    assert shorter.replace("%R~", "~") == older


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    """An authority, and a server's certificate."""
    return Certificates(tmp_path / "certificates")


@pytest.fixture
def encrypted(tmp_path: Path, stack: ExitStack, certificates: Certificates) -> Server:
    """A Redis with TLS, which wants a client's certificate and one of the users."""
    lines = [*certificates.way.lines, f"aclfile {write_users(tmp_path, '7')}"]
    server = Server(list_binaries()["7"], tmp_path / "server", lines, **certificates.way.options).start(is_open=False)
    stack.callback(server.end)
    return server


async def test_encrypted_redis_with_users_is_used(
    encrypted: Server, certificates: Certificates, key: PrivateKey
) -> None:
    """Over TLS, with certificates of both sides and a user each, publisher and edge do their work."""
    names = [name_user(encrypted, name).replace("redis://", "rediss://") for name in ("publisher", "edge")]
    urls = [f"{name}{certificates.way.query}" for name in names]
    await follow_failover(Wire(*urls, key), lambda: None)


async def test_encrypted_sentinels_lead_to_the_next_server(
    tmp_path: Path, stack: ExitStack, certificates: Certificates, key: PrivateKey
) -> None:
    """Sentinels and servers that speak nothing but TLS are asked and followed as others are."""
    sentinels = Sentinels(list_binaries()["7"], tmp_path, stack, certificates.way)
    await follow_failover(Wire(sentinels.url, sentinels.url, key), sentinels.fail_over)


async def test_encrypted_cluster_leads_to_the_next_server(
    tmp_path: Path, stack: ExitStack, certificates: Certificates, key: PrivateKey
) -> None:
    """So are the nodes of a cluster, each by its own certificate."""
    cluster = Cluster(list_binaries()["7"], tmp_path, Keys.of(WORKSPACE).head, stack, certificates.way)
    await follow_failover(Wire(cluster.url, cluster.url, key), cluster.fail_over)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("", "certificate verify failed"),
        ("?ssl_ca_certs={folder}/server.pem", "certificate verify failed"),
        ("?ssl_ca_certs={folder}/none.pem", "No such file"),
    ],
)
async def test_stranger_with_tls_is_not_believed(
    encrypted: Server, certificates: Certificates, key: PrivateKey, options: str, reason: str
) -> None:
    """A server whose certificate nobody trusted has signed is away; so is one whose authority cannot be read."""
    feed = Feed(
        f"rediss://{encrypted.seat}{options.format(folder=certificates.folder)}", WORKSPACE, {key.kid: key.public}
    )
    with pytest.raises(LinkAwayError, match=reason):
        await feed.read_head()
    await feed.close()


async def test_name_in_the_certificate_has_to_fit(
    tmp_path: Path, stack: ExitStack, certificates: Certificates, key: PrivateKey
) -> None:
    """A certificate for another address is refused, by whomever it is signed."""
    other, other_key = certificates.issue("other", "127.0.0.2")
    lines = [f"tls-cert-file {other}", f"tls-key-file {other_key}", f"tls-ca-cert-file {certificates.authority}"]
    authority = str(certificates.authority)
    options = {"ssl_ca_certs": authority, "ssl_check_hostname": False}
    server = Server(list_binaries()["7"], tmp_path / "server", [*lines, "tls-auth-clients no"], ssl=True, **options)
    stack.callback(server.start().end)
    feed = Feed(f"rediss://{server.seat}?ssl_ca_certs={authority}", WORKSPACE, {key.kid: key.public})
    with pytest.raises(LinkAwayError, match="IP address mismatch"):
        await feed.read_head()
    await feed.close()


async def test_most_of_those_that_answer_are_believed() -> None:
    """One that the network has cut off from the others, and names the server of yesterday, is outvoted."""
    said = {"a": Seat("new", 1), "b": Seat("old", 1), "c": Seat("new", 1), "d": None}
    async with answering(said) as seats:
        finder = Finder(seats, {"protocol": 2}, 5, ("WHERE",), lambda answer, _: said[answer.decode()])
        assert await finder.find() == Seat("new", 1)


async def test_nobody_knows() -> None:
    """Where none of them tells, the error says what each has answered."""
    async with answering({"a": None}) as (seat,):
        finder = Finder((seat, Seat("127.0.0.1", 1)), {"protocol": 2}, 5, ("WHERE",), lambda _, __: None)
        with pytest.raises(RedisConnectionError) as caught:
            await finder.find()
    assert str(caught.value).startswith(
        f"nobody tells where the server is: 127.0.0.1:{seat.port}: ConnectionError: it does not know; 127.0.0.1:1: "
    )


@asynccontextmanager
async def answering(names: Iterable[str]) -> AsyncIterator[tuple[Seat, ...]]:
    """Servers that answer whatever they are asked with their names."""

    async def tell(name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            if line in {b"CLIENT\r\n", b"WHERE\r\n"}:  # redis-py introduces itself
                writer.write(b"+%b\r\n" % name.encode())
        writer.close()

    async with AsyncExitStack() as stack:
        seats = []
        for name in names:
            server = await asyncio.start_server(partial(tell, name), "127.0.0.1", 0)
            stack.push_async_callback(server.wait_closed)
            stack.callback(server.close)
            seats.append(Seat(*server.sockets[0].getsockname()))
        yield tuple(seats)


def test_master_is_read() -> None:
    """A sentinel tells a host and a port, or that it knows none."""
    assert read_master([b"10.0.0.7", b"6380"], Seat("s", 1)) == Seat("10.0.0.7", 6380)
    assert read_master(None, Seat("s", 1)) is None


def test_slots_are_read() -> None:
    """The first server of a range has it; one that leaves out its address is where it was asked."""
    asked = Seat("10.0.0.1", 7000)
    answer = [
        [0, 99, [b"", 7000, b"id"]],
        [100, 200, [b"10.0.0.2", 7001, b"id"], [b"10.0.0.3", 7002, b"id"]],
        [300, 300, [None, 7003, b"id", []]],
    ]
    assert read_slots(answer, asked, 99) == asked
    assert read_slots(answer, asked, 100) == Seat("10.0.0.2", 7001)
    assert read_slots(answer, asked, 201) is None
    assert read_slots(answer, asked, 300) == Seat("10.0.0.1", 7003)
