"""The contract, executed: every vector and every command of `contract/publish.md` against a real publisher."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from publisher import api
from trust import PackageClaim, sign_package

CONTRACT = Path(__file__).parents[2] / "contract"
PROGRAM = "2021000000000001"
TOKEN = "a-token-of-the-tests"
ANYTHING = "…"

_COMMAND = re.compile(r"```sh\n(.*?)```\n```json\n(.*?)```", re.DOTALL)


def fits(wanted: Any, got: Any, *, is_whole: bool) -> bool:
    """Whether something is as the contract says; `…` stands for anything, a part for a whole unless told otherwise."""
    if wanted == ANYTHING:
        return True
    if isinstance(wanted, dict) and isinstance(got, dict):
        are_members_there = wanted.keys() == got.keys() if is_whole else wanted.keys() <= got.keys()
        return are_members_there and all(fits(wanted[name], got[name], is_whole=is_whole) for name in wanted)
    if isinstance(wanted, list) and isinstance(got, list):
        pairs = zip(wanted, got, strict=False)
        return len(wanted) == len(got) and all(fits(*pair, is_whole=is_whole) for pair in pairs)
    return bool(wanted == got)


def sign_packages(body: Any, workshop: Any) -> Any:
    """A vector's body with true signatures where it asks for them."""
    for version, package in body.get("packages", {}).items() if body else ():
        if package["signature"] == "<signature>":
            claim = PackageClaim(
                workspace="demo",
                program=body["program"],
                version=version,
                sha256=package["sha256"],
                size=package["size"],
            )
            package["signature"] = sign_package(claim, workshop.keys["package"])
    return body


async def test_vectors(author: Any, workshop: Any) -> None:
    """Each request of the vectors, in their order, gets the answer that stands there."""
    vectors = json.loads((CONTRACT / "vectors" / "publish.json").read_text("utf-8"))
    assert len(vectors) > 20
    for vector in vectors:
        request, wanted = vector["request"], vector["response"]
        headers = {"Authorization": "", **request["headers"]}
        sent = {name.replace("-", "_"): value.replace("<token>", TOKEN) for name, value in headers.items()}
        body = sign_packages(request["body"], workshop)
        answer = await author.ask(request["method"], request["path"], body, **sent)
        assert answer.status == wanted["status"], (vector["name"], answer.body)
        got = answer.json if answer.body else None
        assert fits(wanted["body"], got, is_whole=False), (vector["name"], answer.body)
        for name, value in wanted.get("headers", {}).items():
            assert answer.headers[name] == value, vector["name"]


def test_vectors_are_named() -> None:
    """No two vectors have one name, so that a failing one is found."""
    vectors = json.loads((CONTRACT / "vectors" / "publish.json").read_text("utf-8"))
    names = [vector["name"] for vector in vectors]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("wanted", "got", "is_whole", "result"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, False, True),
        ({"a": 1}, {"a": 1, "b": 2}, True, False),
        ({"a": 1}, {"a": 2}, False, False),
        ({"a": ANYTHING}, {"a": 2}, True, True),
        ([1], [1, 2], False, False),
        ([{"a": 1}], [{"a": 1, "b": 2}], False, True),
        (None, None, False, True),
    ],
)
def test_comparison_can_fail(wanted: Any, got: Any, is_whole: bool, result: bool) -> None:
    """What does not fit the contract is seen."""
    assert fits(wanted, got, is_whole=is_whole) is result


async def run_shell(script: str, folder: Path, environment: dict[str, str]) -> tuple[int, str]:
    """Exit code and output of a script."""
    pipe, joined = asyncio.subprocess.PIPE, asyncio.subprocess.STDOUT
    command = ["bash", "-euc", script]
    process = await asyncio.create_subprocess_exec(*command, cwd=folder, env=environment, stdout=pipe, stderr=joined)
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def test_commands_of_the_page(publisher: Any, workshop: Any, tmp_path: Path, feed: Any) -> None:
    """Whoever follows the page with nothing but curl gets what the page says, and it is published."""
    page = (CONTRACT / "publish.md").read_text("utf-8")
    release = {"id": "r1", "package": "1.0.0.0", "who": {"percent": {"parts": 10_000}}}
    (tmp_path / "program.json").write_text(json.dumps(workshop.document(release, poll_after=300, trials=["1.0.0.0"])))
    environment = {"PUBLISHER": publisher.url, "TOKEN": TOKEN, "PATH": "/usr/bin:/bin"}
    commands = _COMMAND.findall(page)
    assert len(commands) == page.count("```sh\n") == 10
    for script, wanted in commands:
        code, output = await run_shell(script, tmp_path, environment)
        assert code == 0, (script, output)
        assert fits(json.loads(wanted), json.loads(output), is_whole=True), (script, output)
    head = await feed.read_head()
    assert head.position.revision == 2


def test_page_names_every_error() -> None:
    """The page's table has every code that the publisher can answer, and no other."""
    page = (CONTRACT / "publish.md").read_text("utf-8")
    table = dict.fromkeys(re.findall(r"`([a-z_]+)`", "".join(re.findall(r"^\| \d{3} \|([^|]*)\|", page, re.MULTILINE))))
    codes = {code for _, code in api._ERRORS.values()} | set(api._HTTP_CODES.values()) | {"unauthorized", "internal"}
    assert set(table) == codes
