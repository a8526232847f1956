"""`graywave demo`: the demo programs of `config/demo`, and a change of one that shows how fast it reaches a device."""

import json
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import click

from bundle import LocalStore
from cli.exit import CommandError, Exit
from cli.home import Home, take_home, take_json
from cli.http import ask
from cli.pack import pack_with_keys
from cli.publishing import Publisher, open_publisher

FOLDER: Final = Path(__file__).parent.parent / "config" / "demo"
WORKSPACE: Final = "demo"
# The release that `graywave demo` pauses and continues, and the program that it is of.
PROGRAM: Final = "2021000000000001"
RELEASE: Final = "ferry-gray"
LEVEL: Final = 19
# How long a change may take to be seen before something must be wrong, in seconds.
CHANGE_TIMEOUT_S: Final = 5.0


def read_question() -> dict[str, Any]:
    """Returns the demo's question: that of a phone which the ferry's gray release covers."""
    return _read("question.json")


def _read(name: str) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads((FOLDER / name).read_bytes())
    except FileNotFoundError:
        message = f"{FOLDER} is not part of this installation: run a checkout's scripts/run, or up --no-demo"
        raise CommandError(message, Exit.USAGE) from None
    return content


def publish_demo(home: Home, publisher: Publisher) -> int:
    """Packs and publishes each demo program that is not published yet; returns the last revision, 0 for none.

    Raises:
        CommandError: something of it failed.
    """
    revision = 0
    for described in _read("demo.json")["programs"]:
        program = described["program"]
        if publisher.get(program)[0] is not None:
            continue
        packages = {version: _pack(home, program, described["name"], version) for version in described["versions"]}
        document = {"format": 1, "program": program, "poll_after": 60}
        answer = publisher.put(document | {"packages": packages, "releases": described["releases"]}, "")
        revision = int(answer.body["revision"])
    return revision


def _pack(home: Home, program: str, name: str, version: str) -> dict[str, Any]:
    """Packs one version into the store; returns its entry for the document."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "packed"
        pack_with_keys(FOLDER / name / version, out, program, version, home.keys, level=LEVEL)
        package: dict[str, Any] = json.loads((out / "package.json").read_bytes())["package"]
        for transfer in package["transfers"]:
            LocalStore(home.store).put(out / transfer["sha256"])
    return package


@click.command(short_help="Change a release, and see the answer change.")
@take_json
@take_home
def demo(home: Home, *, as_json: bool) -> None:
    """Pause the ferry's gray release, or continue it, and show how the answer to the demo's question changes."""
    publisher = open_publisher(home, None, None)
    document, revision = publisher.get(PROGRAM)
    if document is None:
        raise CommandError(f"program {PROGRAM} is not published: start scripts/run without --no-demo")
    release = _find_release(document)
    release["state"] = "live" if release.get("state") == "paused" else "paused"
    url = f"{home.read_address('edge')}/v1/check"
    ask("POST", url, body=read_question())  # so that connecting is not counted
    started = time.perf_counter()
    published = publisher.put(document, revision).body["revision"]
    answer, spent_ms = _ask_until(url, published, started)
    told = {"release": RELEASE, "state": release["state"], "ms": round(spent_ms, 1), "answer": answer}
    if as_json:
        click.echo(json.dumps(told))
        return
    click.echo(f"{RELEASE} is now {release['state']}")
    click.echo(_shorten(answer))
    click.echo(f"{spent_ms:.1f} ms from publish to the changed answer")


def _find_release(document: dict[str, Any]) -> dict[str, Any]:
    release: dict[str, Any] | None = next((part for part in document["releases"] if part["id"] == RELEASE), None)
    if release is None:
        raise CommandError(f"program {PROGRAM} has no release {RELEASE} any more")
    return release


def _ask_until(url: str, revision: int, started: float) -> tuple[dict[str, Any], float]:
    """The first answer from that revision on, and the milliseconds since `started`."""
    while time.perf_counter() < started + CHANGE_TIMEOUT_S:
        answer: dict[str, Any] = ask("POST", url, body=read_question()).body
        if answer["revision"] >= revision:
            return answer, (time.perf_counter() - started) * 1000
    raise CommandError(f"revision {revision} did not reach the edge within {CHANGE_TIMEOUT_S:.0f} s: see /status")


def _shorten(answer: dict[str, Any]) -> str:
    """An answer for people: signatures say nothing to them."""
    for update in answer["updates"]:
        update.update({name: update[name][:3] + "…" for name in ("signature", "offer") if name in update})
    return json.dumps(answer, ensure_ascii=False, separators=(",", ":"))
