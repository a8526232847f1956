"""The JSON Schemas: valid themselves, true of every vector and every example in the words, and able to refuse."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from contract.vector import Json, SwitchVector, load_switch_vectors, load_vectors

FOLDER = Path("contract")
SCHEMAS = {path.stem: json.loads(path.read_text()) for path in sorted((FOLDER / "schemas").glob("*.json"))}
REGISTRY: Registry[Any] = Registry().with_resources(
    [(schema["$id"], Resource.from_contents(schema)) for schema in SCHEMAS.values()]
)
VECTORS = load_vectors()
# The faults that no schema sees: bytes, JSON itself, and what a workspace is.
UNSEEN = {"malformed_json", "too_large", "unknown_workspace"}
UNSEEN_NAMES = {"city_of_258_bytes_in_86_characters", "city_of_258_bytes_in_86_escapes"}


def is_valid(name: str, value: object) -> bool:
    """Says whether a schema admits a value."""
    return bool(Draft202012Validator(SCHEMAS[name], registry=REGISTRY).is_valid(value))


def read_examples() -> list[tuple[str, str, Json]]:
    """The JSON blocks of the words, each marked with the schema that it is an example of."""
    found = []
    for path in sorted(FOLDER.glob("*.md")):
        for name, text in re.findall(r"```json ([a-z-]+)\n(.*?)```", path.read_text(), re.DOTALL):
            found.append((path.stem, name, json.loads(text)))
    return found


EXAMPLES = {(page, name): value for page, name, value in read_examples()}
AUTHORED = EXAMPLES["document", "program"]
PUBLISHED: Json = {**AUTHORED, "workspace": "demo", "epoch": 1, "revision": 7, "offers": EXAMPLES["document", "offers"]}
ROOT = {"payload": "e30", "signatures": [{"protected": "e30", "signature": "AA"}]}
TRANSFER = {"format": "zstd", "size": 1, "sha256": "0" * 64}
OFFER: Json = {
    "workspace": "demo",
    "program": "20210001",
    "action": "install",
    "version": "1.0",
    "sha256": "0" * 64,
    "epoch": 1,
    "revision": 7,
    "issued": 1,
    "expires": 2,
    "transfers": [TRANSFER],
}
AUDIENCE = EXAMPLES["audience", "audience"]
PUBLISHED_AUDIENCE: Json = {**AUDIENCE, "workspace": "demo", "epoch": 1, "revision": 8}
GOOD: dict[str, Json] = {
    "program": AUTHORED,
    "audience": AUDIENCE,
    "published-audience": PUBLISHED_AUDIENCE,
    "published": PUBLISHED,
    "switches": EXAMPLES["switches", "switches"],
    "published-switches": {**EXAMPLES["switches", "switches"], "workspace": "demo", "epoch": 1, "revision": 7},
    "flags": EXAMPLES["ofrep", "flags"],
    "question": EXAMPLES["check", "question"],
    "answer": EXAMPLES["check", "answer"],
    "report": EXAMPLES["check", "report"],
    "error": EXAMPLES["check", "error"],
    "head": {"workspace": "demo", "epoch": 1, "revision": 7, "issued": 1, "expires": 2, "documents": 3},
    "offer": OFFER,
    "package-claim": {"workspace": "demo", "program": "20210001", "version": "1.0", "sha256": "0" * 64, "size": 1},
    "trial-claim": {
        "workspace": "demo",
        "program": "2021000000000001",
        "version": "2.0",
        "users": ["u-777"],
        "id": "8f0c2d1e",
        "issued": 1,
        "expires": 2,
    },
    "client": {"format": 1, "roots": [ROOT], "client": "e30.e30.AA e30.e30.AB"},
    "client-claim": {"workspace": "demo", "issued": 1, "edges": ["http://127.0.0.1:8080"]},
}
RELEASE = "releases/0"
RULE = "flags/new-home/rules/1"
PACKAGE = "packages/2.3.1.0"
# A schema, the place of a member, and what is put there; ABSENT takes it away.
ABSENT = object()
BAD: list[tuple[str, str, object]] = [
    ("program", "format", 2),
    ("program", "program", "202100000000001"),
    ("program", "program", "20210001\n"),
    ("program", "colour", "gray"),
    ("program", "workspace", "demo"),
    ("program", "poll_after", 86_401),
    ("program", "poll_after", -1),
    ("program", "packages", ABSENT),
    ("program", "releases", ABSENT),
    ("program", "packages/latest", {}),
    ("program", f"{PACKAGE}/sha256", "A" * 64),
    ("program", f"{PACKAGE}/sha256", "0" * 63),
    ("program", f"{PACKAGE}/size", -1),
    ("program", f"{PACKAGE}/signature", ""),
    ("program", f"{PACKAGE}/transfers", []),
    ("program", f"{PACKAGE}/download", "cellular"),
    ("program", f"{PACKAGE}/install", "later"),
    ("program", f"{PACKAGE}/colour", "gray"),
    ("program", f"{PACKAGE}/key", "AGE-SECRET-KEY-1"),
    ("program", f"{PACKAGE}/key", "age-secret-key-1" + "q" * 58),
    ("program", "floor", "1.*"),
    ("program", f"{PACKAGE}/transfers/0/from", "1.0"),
    ("program", f"{PACKAGE}/transfers/0/format", "zip"),
    ("program", f"{PACKAGE}/transfers/1/from", ABSENT),
    ("program", f"{PACKAGE}/transfers/1/from_sha256", ABSENT),
    ("program", f"{RELEASE}/id", ""),
    ("program", f"{RELEASE}/package", ABSENT),
    ("program", f"{RELEASE}/state", "draft"),
    ("program", f"{RELEASE}/urgency", "loud"),
    ("program", f"{RELEASE}/who", {}),
    ("program", f"{RELEASE}/who", {"users": None}),
    ("program", f"{RELEASE}/who/users", []),
    ("program", f"{RELEASE}/who/percent/parts", 1_000_001),
    ("program", f"{RELEASE}/who/percent/by", "region"),
    ("program", f"{RELEASE}/who/percent/steps", [{"at": 0, "parts": 1}]),
    ("program", f"{RELEASE}/who/percent/steps", [{"at": 1}]),
    ("program", f"{RELEASE}/who/audiences", []),
    ("program", f"{RELEASE}/who/audiences", ["-qa"]),
    ("program", f"{RELEASE}/who/audiences", ["q" * 65]),
    ("program", f"{RELEASE}/who/window", {"limit": 0, "closes_at": 20}),
    ("program", f"{RELEASE}/who/window", {"limit": 10}),
    ("program", f"{RELEASE}/who/window", {"limit": 10, "closes_at": 20, "per_minute": 0}),
    ("program", f"{RELEASE}/who/window", {"limit": 10, "closes_at": 20, "id": "00"}),
    ("program", "urgent", {"poll_after": 60}),
    ("program", "urgent", {"poll_after": 86_401, "until": 1}),
    ("program", "trials", ["2.*"]),
    ("program", f"{RELEASE}/when/0/attribute", "colour"),
    ("program", f"{RELEASE}/when/0/attribute", "tags."),
    ("program", f"{RELEASE}/when/0/op", "between"),
    ("program", f"{RELEASE}/when/0/values", []),
    ("program", f"{RELEASE}/when/0/values", [" "]),
    ("program", f"{RELEASE}/when/1/op", "prefix"),
    ("program", f"{RELEASE}/when/1/values", ["12"]),
    ("program", f"{RELEASE}/when/1/values", ["12", "13", "14"]),
    ("program", f"{RELEASE}/when/1/values", ["12", "1.2.3.4.*"]),
    ("program", f"{RELEASE}/clients", {}),
    ("program", f"{RELEASE}/clients/symbian", {}),
    ("program", f"{RELEASE}/clients/android/min", "ten"),
    ("program", f"{RELEASE}/opens_at", -1),
    ("program", f"{RELEASE}/closes_at", 0),
    ("program", f"{RELEASE}/rollback/from", ["2.*"]),
    ("program", f"{RELEASE}/rollback/from", []),
    ("switches", "switches", "-app"),
    ("switches", "workspace", "demo"),
    ("switches", "removed", True),
    ("switches", "flags/new-home/type", "number"),
    ("switches", "flags/new-home/default", ABSENT),
    ("switches", "flags/new-home/state", "paused"),
    ("switches", "flags/new-home/variants", {}),
    ("switches", "flags/new-home/variants/on", 1),
    ("switches", "flags/new-home/variants/a b", True),
    ("switches", "flags/ratio/variants/half", "0.5"),
    ("switches", "flags/banner/variants/spring", []),
    ("switches", "flags/a b", {"type": "boolean", "variants": {"on": True}, "default": "on"}),
    ("switches", f"{RULE}/variant", ABSENT),
    ("switches", f"{RULE}/state", "draft"),
    ("switches", f"{RULE}/who", {}),
    ("switches", f"{RULE}/who/window", {"limit": 10, "closes_at": 20}),
    ("switches", f"{RULE}/when/0/attribute", "installed"),
    ("switches", f"{RULE}/when/0/op", "prefix"),
    ("switches", f"{RULE}/clients", {}),
    ("switches", f"{RULE}/closes_at", 0),
    ("switches", f"{RULE}/urgency", "silent"),
    ("published-switches", "workspace", ABSENT),
    ("published-switches", "revision", -1),
    ("published-switches", f"{RULE}/who/percent/salt", ABSENT),
    ("flags", "flags/0/reason", "DEFAULT"),
    ("flags", "flags/0/variant", ABSENT),
    ("flags", "flags/0/value", ABSENT),
    ("flags", "flags/0/reason", "DISABLED"),
    ("flags", "flags/1/errorDetails", ABSENT),
    ("flags", "flags/1/errorCode", "TEAPOT"),
    ("flags", "metadata/version", "v1"),
    ("published", "workspace", ABSENT),
    ("published", "workspace", "Demo"),
    ("published", "revision", -1),
    ("published", "offers", ABSENT),
    ("published", "offers/expires", ABSENT),
    ("published", "offers/install/2.3.1.0", ""),
    ("published", "taken_down", True),
    ("published", f"{RELEASE}/who/percent/salt", ABSENT),
    ("published", f"{RELEASE}/who/percent/salt", ""),
    ("published", f"{RELEASE}/who/window", {"limit": 10, "closes_at": 20}),
    ("published", f"{RELEASE}/who/window", {"limit": 10, "closes_at": 20, "id": "00112233445566aa", "key": ""}),
    ("published", "colour", "gray"),
    ("audience", "format", 2),
    ("audience", "audience", ABSENT),
    ("audience", "audience", "-qa"),
    ("audience", "audience", "q a"),
    ("audience", "audience", "q" * 65),
    ("audience", "key", "K1"),
    ("audience", "key", "-"),
    ("audience", "key", "k" * 33),
    ("audience", "count", 100_000_001),
    ("audience", "count", 0),
    ("audience", "size", 2**30 + 1),
    ("audience", "sha256", "AB" * 32),
    ("audience", "sha256", ABSENT),
    ("audience", "url", ABSENT),
    ("audience", "url", "/" * 2_049),
    ("audience", "key", ABSENT),
    ("audience", "patterns", ["a"] * 33),
    ("audience", "patterns", [""]),
    ("audience", "patterns", ["a" * 65]),
    ("audience", "patterns", ["*a*b*c*d*"]),
    ("audience", "removed", True),
    ("audience", "users", ["u-1"]),
    ("audience", "workspace", "demo"),
    ("published-audience", "workspace", ABSENT),
    ("published-audience", "epoch", ABSENT),
    ("published-audience", "revision", -1),
    ("published-audience", "workspace", "Demo"),
    ("published-audience", "offers", {}),
    ("answer", "revision", ABSENT),
    ("answer", "poll_after", 95_041),
    ("answer", "unknown", []),
    ("answer", "updates/0/action", "remove"),
    ("answer", "updates/0/offer", ABSENT),
    ("answer", "updates/0/transfers/1/from", "1.0"),
    ("answer", "updates/0/transfers/0/from", ABSENT),
    ("answer", "updates/1/version", "1.0"),
    ("answer", "switches", {}),
    ("answer", "switches_etag", "a"),
    ("report", "events", []),
    ("report", "events/0/nonce", ABSENT),
    ("report", "events/0/outcome", "exploded"),
    ("report", "events/0/bytes", -1),
    ("report", "device/platform", ABSENT),
    ("error", "error/code", "teapot"),
    ("error", "error/message", ABSENT),
    ("head", "documents", ABSENT),
    ("head", "epoch", 2**53),
    ("head", "colour", "gray"),
    ("offer", "action", "remove"),
    ("offer", "sha256", ""),
    ("offer", "transfers", []),
    ("offer", "transfers/0/format", "dcz"),
    ("offer", "transfers/0/from_sha256", "0" * 64),
    ("offer", "epoch", ABSENT),
    ("package-claim", "size", 0),
    ("package-claim", "version", "1.*"),
    ("package-claim", "colour", "gray"),
    ("trial-claim", "users", []),
    ("trial-claim", "users", ["u"] * 101),
    ("trial-claim", "users/0", ""),
    ("trial-claim", "users/0", "u" * 257),
    ("trial-claim", "id", "short"),
    ("trial-claim", "version", "2.*"),
    ("trial-claim", "expires", ABSENT),
    ("trial-claim", "release", "r1"),
    ("client", "roots", []),
    ("client", "roots/0/signatures", []),
    ("client", "roots", ABSENT),
    ("client", "client", "e30.e30"),
    ("client", "client", "e30.e30.AA  e30.e30.AB"),
    ("client-claim", "edges", []),
    ("client-claim", "edges", ["127.0.0.1:8080"]),
    ("client-claim", "defaults", {"poll_after": 86_401}),
]


def put(value: Json, place: str, member: object) -> Json:
    """A copy of a value with another member at a place; list indexes are numbers."""
    whole = copy.deepcopy(value)
    at: Any = whole
    *names, last = [int(name) if name.isdigit() else name for name in place.split("/")]
    for name in names:
        at = at[name]
    if member is ABSENT:
        del at[last]
    else:
        at[last] = member
    return whole


@pytest.mark.parametrize("name", SCHEMAS)
def test_is_a_schema_with_an_example(name: str) -> None:
    """Each schema is one of draft 2020-12, and has an example that it admits."""
    Draft202012Validator.check_schema(SCHEMAS[name])
    assert SCHEMAS[name]["$id"] == f"urn:graywave:{name}"
    assert is_valid(name, GOOD[name])


@pytest.mark.parametrize(("name", "place", "member"), BAD, ids=lambda value: "absent" if value is ABSENT else None)
def test_refuses(name: str, place: str, member: object) -> None:
    """One wrong member in an example is enough for it to be refused."""
    assert not is_valid(name, put(GOOD[name], place, member))


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.id)
def test_documents_of_vectors(vector: Any) -> None:
    """The documents of every vector are published documents."""
    assert all(is_valid("published", document) for document in vector.documents)


@pytest.mark.parametrize("vector", load_switch_vectors(), ids=lambda vector: vector.id)
def test_sets_and_answers_of_vectors(vector: SwitchVector) -> None:
    """The documents of every vector of switches are published sets, and what is told of them is an answer."""
    assert all(is_valid("published-switches", document) for document in vector.documents)
    assert is_valid("flags", {"flags": vector.flags, "metadata": {"version": "0" * 16}})


@pytest.mark.parametrize("vector", [vector for vector in VECTORS if vector.answer], ids=lambda vector: vector.id)
def test_questions_and_answers_of_vectors(vector: Any) -> None:
    """What is answered is a question, and the answer an answer."""
    assert is_valid("question", vector.question)
    assert is_valid("answer", vector.answer)


@pytest.mark.parametrize(
    "vector",
    [vector for vector in VECTORS if vector.code and vector.code not in UNSEEN and vector.name not in UNSEEN_NAMES],
    ids=lambda vector: vector.id,
)
def test_refused_questions_of_vectors(vector: Any) -> None:
    """What is refused for its members is no question."""
    assert not is_valid("question", vector.question)


def test_an_authors_document_may_leave_the_salt_out() -> None:
    """The publisher fills it in."""
    assert is_valid("program", put(AUTHORED, f"{RELEASE}/who/percent/salt", ABSENT))
    assert is_valid("program", put(AUTHORED, f"{RELEASE}/who/percent/salt", ""))


def test_audiences_have_a_file_or_patterns_or_are_removed() -> None:
    """Either is enough, and one that is removed has neither; nobody at all is no audience."""
    bare = {"format": 1, "audience": "qa"}
    file = {name: value for name, value in AUDIENCE.items() if name != "patterns"}
    for good in (file, {**bare, "patterns": ["****"]}, {**bare, "removed": True}, {**AUDIENCE, "removed": False}):
        assert is_valid("audience", good)
    for bad in (bare, {**bare, "patterns": []}, {**bare, "patterns": ["a"], "removed": True}):
        assert not is_valid("audience", bad)


def test_null_is_absent() -> None:
    """The members that may be null."""
    for member in ("who", "clients", "opens_at", "closes_at", "rollback", "continues"):
        assert is_valid("program", put(AUTHORED, f"{RELEASE}/{member}", None))
    assert is_valid("program", put(AUTHORED, f"{RELEASE}/who/users", None))
    assert is_valid("program", put(AUTHORED, f"{RELEASE}/clients/android", {"min": None, "max": None}))


def test_newer_clients_and_older_servers() -> None:
    """Questions and reports may have members that are not known yet."""
    for name in ("question", "report"):
        assert is_valid(name, {**GOOD[name], "from_the_future": 1})


def test_an_offer_to_remove_names_no_package() -> None:
    """It covers the program, whatever is installed."""
    assert is_valid("offer", {**OFFER, "action": "remove", "version": "", "sha256": "", "transfers": []})
