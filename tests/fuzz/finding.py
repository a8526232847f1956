"""What a fuzzer finds: one input after which a promise was broken, and a file that keeps it."""

from dataclasses import dataclass
from pathlib import Path

import orjson


class BrokenError(Exception):
    """A promise that an input has broken; the message says which."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One input that has broken a promise.

    Args:
        target: whose input it is.
        seed: of the run.
        block: of the run: state is shared within it and made anew for the next one.
        number: of the input within its block.
        parts: the input.
        problem: what was broken.
    """

    target: str
    seed: int
    block: int
    number: int
    parts: list[bytes]
    problem: str

    def write(self, folder: Path) -> Path:
        """Keeps the finding in a file of its own; bytes are told as the characters of Latin-1."""
        path = folder / f"{self.target}-{self.seed}-{self.block}-{self.number}.json"
        told = {"seed": self.seed, "block": self.block, "number": self.number, "problem": self.problem[-2_000:]}
        parts = [part.decode("latin-1") for part in self.parts]
        path.write_bytes(orjson.dumps(told | {"parts": parts}, option=orjson.OPT_INDENT_2))
        return path


def read_parts(path: Path) -> list[bytes]:
    """Returns the input that a finding's file holds."""
    return [part.encode("latin-1") for part in orjson.loads(path.read_bytes())["parts"]]
