"""client.json, which the host app ships: whom to ask and whom to believe, as root keys say. Nothing is fetched here.

One file is one workspace, and what is installed for it lies in a folder of that name (`Config.folder_name`). Another
file in the same app is another environment: nothing of the one is active under the other, and each is found again as it
was left.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from container.errors import ConfigError
from trust import ClientDefaults, Root, TrustError, follow_roots, read_root, verify_client

# Room for a chain of roots with some keys each; whoever ships more has mixed up files, and each start would read it.
MAX_CONFIG_BYTES = 1024 * 1024
# A root each year for a lifetime; each costs some verifications, at every start of the host app.
MAX_ROOTS = 64
_NO_DEFAULTS = ClientDefaults()


@dataclass(frozen=True, slots=True)
class Config:
    """Whom a container asks and whom it believes.

    `edges` are base addresses without a path's last slash, `roots` the documents as they were shipped, the pinned one
    first, `root` what the last of them says. `domain` is the host under which programs have their origins, or empty;
    `issued` (seconds) is when the file was signed: no true clock is before that. `defaults` hold until an edge answers:
    in how many seconds to ask again, and about which programs besides those installed.
    """

    workspace: str
    edges: tuple[str, ...]
    root: Root
    roots: tuple[bytes, ...]
    issued: int = 0
    domain: str = ""
    defaults: ClientDefaults = _NO_DEFAULTS

    @property
    def folder_name(self) -> str:
        """The folder of this environment, within the one that the host app gives to the container."""
        return self.workspace

    def origin(self, program: str) -> str:
        """Returns the origin of a program's pages, `https://<program>.<domain>`; empty where there is no domain."""
        return f"https://{program}.{self.domain}" if self.domain else ""


class _Form(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: Literal[1]
    roots: Annotated[tuple[msgspec.Raw, ...], Meta(min_length=1, max_length=MAX_ROOTS)]
    client: str


def load_config(path: Path) -> Config:
    """Returns the configuration in a file.

    Raises:
        ConfigError: the file cannot be read, or `read_config` refuses it.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: expected a file that can be read: {error.strerror}") from error
    try:
        return read_config(data)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def read_config(data: bytes) -> Config:
    """Returns the configuration in JSON text: {"format": 1, "roots": [root document, …], "client": "<signed claim>"}.

    The first root is pinned, each other one follows that before it, and the last one's root keys have signed the claim.
    Whether a root has expired is not asked here: the container may have seen newer ones.

    Raises:
        ConfigError: it is malformed or not signed by the last root's root keys, or what they say cannot be.
    """
    if len(data) > MAX_CONFIG_BYTES:
        raise ConfigError(f"expected a client configuration of at most {MAX_CONFIG_BYTES} bytes, got more")
    form = _decode(data)
    roots = tuple(bytes(document) for document in form.roots)
    root = _follow(roots)
    try:
        claim = verify_client(form.client, root.role("root"))
    except TrustError as error:
        raise ConfigError(f"client: {error}") from error
    if claim.workspace != root.workspace:
        raise ConfigError(f"client: expected workspace {root.workspace!r} as in the roots, got {claim.workspace!r}")
    edges = tuple(edge.rstrip("/") for edge in claim.edges)
    return Config(claim.workspace, edges, root, roots, claim.issued, claim.domain, claim.defaults)


def _decode(data: bytes) -> _Form:
    try:
        return msgspec.json.decode(data, type=_Form)
    except (ValueError, RecursionError) as error:
        if _is_unsigned(data):
            raise ConfigError(
                "expected a signed client configuration, got the older form that nobody has signed: "
                "make a new one with graywave client --keys DIR --edge URL --out FILE"
            ) from error
        raise ConfigError(f"expected a client configuration: {error}") from error


def _is_unsigned(data: bytes) -> bool:
    try:
        members: Any = msgspec.json.decode(data)
    except (ValueError, RecursionError):
        return False
    return isinstance(members, dict) and "client" not in members and {"workspace", "edges", "root"} <= members.keys()


def _follow(documents: tuple[bytes, ...]) -> Root:
    try:
        return follow_roots(read_root(documents[0]), documents[1:])
    except TrustError as error:
        raise ConfigError(f"roots: {error}") from error
