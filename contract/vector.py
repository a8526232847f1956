"""The test vectors, read from `contract/vectors/`: what every implementation of a wire must answer.

It knows files and their members, and nothing of how an answer is found.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Json = dict[str, Any]

FOLDER = Path(__file__).parent / "vectors" / "check"
SWITCH_FOLDER = FOLDER.parent / "switch"


@dataclass(frozen=True, slots=True)
class Vector:
    """One question and what must be answered; `rule` is the name of the file that it stands in.

    `body` is what the device sends. An answered vector has `answer` and, by program, the `decisions` behind it; a
    refused one has `code`, the error's code. `status` is the HTTP status of either. `lists` is what is known beside the
    documents, as the oracle takes it.
    """

    rule: str
    name: str
    body: bytes
    documents: list[Json]
    revision: int
    root: int
    now: int
    status: int
    code: str
    answer: Json | None
    decisions: dict[str, Json]
    lists: Json

    @property
    def id(self) -> str:
        """The name under which a test reports it."""
        return f"{self.rule}/{self.name}"

    @property
    def question(self) -> Json:
        """The body, parsed; of members that stand twice, the last."""
        question: Json = json.loads(self.body)
        return question


@dataclass(frozen=True, slots=True)
class SwitchVector:
    """The switch sets of a workspace, an OFREP context, and the `flags` that whoever asks for all of them is told.

    `lists` is what is known beside the documents, as the oracle takes it.
    """

    rule: str
    name: str
    documents: list[Json]
    now: int
    lists: Json
    context: Json
    flags: list[Json]

    @property
    def id(self) -> str:
        """The name under which a test reports it."""
        return f"{self.rule}/{self.name}"


def load_switch_vectors() -> list[SwitchVector]:
    """Returns every vector of switches, in the order of files and members."""
    return [
        SwitchVector(path.stem, *(entry.get(name, {}) for name in SwitchVector.__slots__[1:]))
        for path in list_switch_files()
        for entry in json.loads(path.read_text())
    ]


def list_switch_files() -> list[Path]:
    """Returns the files that hold vectors of switches, one a rule."""
    return sorted(SWITCH_FOLDER.glob("*.json"))


def load_vectors() -> list[Vector]:
    """Returns every vector of the check, in the order of files and members."""
    return [_read(path.stem, entry) for path in list_files() for entry in json.loads(path.read_text())]


def list_files() -> list[Path]:
    """Returns the files that hold vectors of the check, one a rule."""
    return sorted(FOLDER.glob("*.json"))


def _read(rule: str, entry: Json) -> Vector:
    return Vector(
        rule=rule,
        name=entry["name"],
        body=encode_body(entry),
        documents=entry.get("documents", []),
        revision=entry.get("revision", 1),
        root=entry.get("root", 1),
        now=entry.get("now", 0),
        status=entry.get("status", 200),
        code=entry.get("code", ""),
        answer=entry.get("answer"),
        decisions=entry.get("decisions", {}),
        lists=entry.get("lists", {}),
    )


def encode_body(entry: Json) -> bytes:
    """Returns the bytes that a vector's device sends.

    `question` is a JSON value. `question_raw` is the text itself, or a list of its parts: a text, `{"repeat", "times"}`
    for a long one, or `{"hex"}` for bytes that are no text.
    """
    if "question" in entry:
        return json.dumps(entry["question"], ensure_ascii=False).encode()
    raw = entry["question_raw"]
    return b"".join(_encode_part(part) for part in ([raw] if isinstance(raw, str) else raw))


def _encode_part(part: str | Json) -> bytes:
    if isinstance(part, str):
        return part.encode()
    if "hex" in part:
        return bytes.fromhex(part["hex"])
    return str(part["repeat"]).encode() * int(part["times"])
