"""The names under which a workspace's things lie in Redis; what lies there is not known here.

Every name holds the same hash tag, `{workspace}`, so that one script may touch all of them in a cluster too.
"""

import re
from dataclasses import dataclass
from typing import NamedTuple, Self

from channel.errors import KeyNameError

# No brace, colon or blank: a workspace may not move its hash tag, nor reach into another's names.
_WORKSPACE = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_KIND = re.compile(r"[a-z]{1,16}")
# A name travels in a URL, in a key and as a member of a hash: nothing that any of these would read otherwise.
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class DocumentName(NamedTuple):
    """What a document is called: its kind (`program`) and its id within the kind."""

    kind: str
    id: str

    @classmethod
    def of(cls, kind: str, id_: str) -> Self:
        """Returns the name of these two parts.

        Raises:
            KeyNameError: a part is empty, too long or has other characters than a name may have.
        """
        if not _KIND.fullmatch(kind):
            raise KeyNameError(f"expected a kind of 1 to 16 lower-case letters, got {kind!r}")
        if not _ID.fullmatch(id_):
            raise KeyNameError(f"expected an id of 1 to 128 letters, digits, '.', '_' and '-', got {id_!r}")
        return cls(kind, id_)

    @classmethod
    def parse(cls, text: bytes) -> Self:
        """Returns the name that a member of the index holds, `kind:id`; raises what `of` raises."""
        kind, _, id_ = text.decode("ascii", "backslashreplace").partition(":")
        return cls.of(kind, id_)

    def __str__(self) -> str:
        return f"{self.kind}:{self.id}"


@dataclass(frozen=True, slots=True)
class Keys:
    """The key names of one workspace; made by `Keys.of`, which checks the workspace's name."""

    prefix: str

    @classmethod
    def of(cls, workspace: str) -> Self:
        """Returns the key names of a workspace.

        Raises:
            KeyNameError: the name is not 1 to 63 lower-case letters, digits and hyphens, the first no hyphen.
        """
        if not _WORKSPACE.fullmatch(workspace):
            wanted = "1 to 63 lower-case letters, digits and hyphens, the first no hyphen"
            raise KeyNameError(f"expected a workspace of {wanted}, got {workspace!r}")
        return cls(f"gw:{{{workspace}}}")

    @property
    def head(self) -> str:
        """The signed head: a hash of epoch, revision, signed."""
        return f"{self.prefix}:head"

    @property
    def index(self) -> str:
        """Every document's position: a hash of `kind:id` to `epoch-revision`."""
        return f"{self.prefix}:index"

    @property
    def log(self) -> str:
        """The change log: a stream of kind, id, whose entry ids are positions."""
        return f"{self.prefix}:log"

    @property
    def changed(self) -> str:
        """The pub/sub channel on which a new position is told: a hint, never the truth."""
        return f"{self.prefix}:changed"

    def root(self, number: int) -> str:
        """The key of the root document of this number, which never changes once it is there."""
        return f"{self.prefix}:root:{number}"

    @property
    def edges(self) -> str:
        """What each host has applied: a hash."""
        return f"{self.prefix}:edges"

    @property
    def windows(self) -> str:
        """The fence of all windows: a hash of the generation, the hosts, and each window's count."""
        return f"{self.prefix}:windows"

    def window(self, id_: str, lineage: str = "0") -> str:
        """The members of a window in the order of their admission: a sorted set.

        Another lineage begins where members were found whom hosts have left behind; those are asked no more.
        """
        return f"{self.prefix}:window:{id_}" + ("" if lineage == "0" else f":{lineage}")

    def document(self, name: DocumentName) -> str:
        """The key of a document's envelope."""
        return f"{self.prefix}:doc:{name}"
