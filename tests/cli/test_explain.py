"""`graywave explain`: what an edge explains, as a terminal and as a script gets it."""

import json
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.explain import describe
from tests.cli.conftest import Run
from tests.cli.running import Running
from tests.docs.page import read_blocks
from tests.end_to_end.town import ROOT

FERRY = "2021000000000001"
PHONE = ("user=u-777", "os=14", "app=10.2.3", "model=MI 10")


def name_facts(*facts: str) -> list[str]:
    """Returns the options for facts of a device."""
    return [part for fact in facts for part in ("--device", fact)]


def test_a_running_edge_explains(graywave: Run) -> None:
    """The deciding release is marked, and what is above it says what failed."""
    result = graywave("explain", FERRY, "--installed", "1.0.0", *name_facts("model=Mi 9", "os=14", "user=u-777"))
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"{FERRY}, revision ")
    assert lines[0].endswith("installed: 1.0.0.0")
    assert any(line.startswith("  ferry-gray") and " failed " in line for line in lines)
    assert [line.split()[1] for line in lines if line.startswith("> ")] == ["ferry-official"]


def test_it_is_what_a_check_is_told(graywave: Run) -> None:
    """For scripts it is JSON, and the decision is the check's."""
    facts = name_facts(*PHONE)
    told = json.loads(graywave("explain", FERRY, "--installed", "1.0.0", *facts, "--json").stdout)
    (update,) = json.loads(graywave("check", f"{FERRY}=1.0.0", *facts).stdout)["updates"]
    assert (told["release"], told["reason"]) == (update["release"], update["action"])


def test_an_earlier_document(graywave: Run, running: Running, tmp_path: Path) -> None:
    """By revision or time the document of then decides; `--at` is also the time that is asked about."""
    del running
    document = json.loads(graywave("document get", "2021000000000002").stdout)
    program = "2021000000000032"
    first = document | {"program": program, "packages": {}, "releases": []}
    revision = publish(graywave, tmp_path, first)
    publish(graywave, tmp_path, first | {"taken_down": True})
    facts = name_facts("os=14")
    now = json.loads(graywave("explain", program, *facts, "--json").stdout)
    then = json.loads(graywave("explain", program, *facts, "--json", "--revision", revision).stdout)
    assert (now["reason"], then["reason"], then["revision"]) == ("gone", "no_release", revision)
    later = json.loads(graywave("explain", program, *facts, "--json", "--at", "+1h").stdout)
    assert later["reason"] == "gone"
    assert later["now"] > then["now"]
    refused = graywave("explain", program, *facts, "--at", "2020-01-01")
    assert refused.exit_code == 3
    assert "expected a time since which revisions of program:2021000000000032 are kept" in refused.stderr


def publish(graywave: Run, folder: Path, document: Any) -> int:
    """Publishes a document; returns its revision once the edge has it."""
    path = folder / "document.json"
    path.write_text(json.dumps(document), "utf-8")
    revision = int(json.loads(graywave("document put", path).stdout)["revision"])
    for _ in range(1_000):
        found = graywave("explain", document["program"], "--json")
        if found.exit_code == 0 and json.loads(found.stdout)["revision"] >= revision:
            return revision
    pytest.fail(found.output)


def test_who_may_not_ask(graywave: Run, tmp_path: Path) -> None:
    """Without the token the edge refuses in its own words; a token that cannot be read is told before."""
    (tmp_path / "token").write_text("another-token-of-theirs")
    result = graywave("explain", FERRY, "--admin-token-file", tmp_path / "token")
    assert result.exit_code == 3
    assert "expected the edge's admin token as Authorization: Bearer" in result.stderr
    result = graywave("explain", FERRY, "--admin-token-file", tmp_path / "nowhere")
    assert result.exit_code == 2
    assert result.stderr.startswith("graywave: cannot read the edge's admin token: ")


def make_release(**members: Any) -> dict[str, Any]:
    """Returns a release as explained."""
    return {"id": "r1", "path": "$.releases[0]", "version": "1.0", "state": "live", "verdict": "failed",
            "failed": None, "who": [], **members}  # fmt: skip


def fail(step: int = 5, said: str | None = None, seen: str | None = None, *asked: str) -> dict[str, Any]:
    """Returns a failure as explained."""
    return {"step": step, "path": "$.releases[0].when[0]", "attribute": "model", "op": "not_in", "asked": list(asked),
            "said": said, "seen": seen}  # fmt: skip


def tell(*releases: dict[str, Any], **members: Any) -> list[str]:
    """Returns the lines about releases."""
    told = {"program": "p", "epoch": 1, "revision": 7, "now": 1_000, "installed": None, "release": None,
            "version": None, "reason": "no_release", "offers_expire": 2_000, "releases": list(releases)}  # fmt: skip
    return list(describe(told | members))


def test_a_table_is_aligned() -> None:
    """The columns of all releases begin at the same place, whatever their lengths."""
    failure = "step 5, $.releases[0].when[0]: wants model not in MI 10; the device has ' MI 9', read as mi 9"
    releases = (
        make_release(id="a", failed=fail(5, " MI 9", "mi 9", "MI 10")),
        make_release(id="long-one", version="10.11.12", verdict="decided"),
        make_release(id="x", verdict="unreached"),
    )
    assert tell(*releases, release="long-one", version="10.11.12.0", reason="install") == [
        "p, revision 7 (epoch 1), as of 1970-01-01 00:16:40 UTC, installed: nothing",
        "decision: install 10.11.12.0 by release long-one",
        f"  a         1.0       live  failed       {failure}",
        "> long-one  10.11.12  live  decided",
        "  x         1.0       live  not reached  would decide",
    ]


@pytest.mark.parametrize(
    ("failed", "shown"),
    [
        (fail(5, None, None, "a"), "wants model not in a; the device has none"),
        (
            fail(5, "14.", None, "14"),
            "wants model not in 14; the device has '14.', which says nothing that can be read",
        ),
        (fail(5, "b", "b", *"acdefgh"), "wants model not in a, c, d, e, f, … (7 in all); the device has b"),
        (fail(5, "\x1b[2J", "x", "a"), "wants model not in a; the device has '\\\\x1b[2J', read as x"),
    ],
)
def test_failures(failed: dict[str, Any], shown: str) -> None:
    """What was asked for and seen; long lists are cut, and a terminal is not written on."""
    line = tell(make_release(failed=failed))[-1]
    assert line.endswith(f"step 5, $.releases[0].when[0]: {shown}")


def test_parts_of_who_follow() -> None:
    """Under a release stands how the device stands to each part of its who."""
    who = [
        {"kind": "percent", "path": "", "standing": "outside", "why": "the bucket 5"},
        {"kind": "audience", "path": "", "standing": "inside", "why": "on the list", "name": "qa"},
        {"kind": "window", "path": "", "standing": "ask", "why": "open", "name": "0" * 16},
    ]
    lines = tell(make_release(failed=fail(6), who=who))
    assert lines[-4].endswith("step 6, $.releases[0].when[0]: the device is in no part of it")
    assert lines[-3:] == [
        "      percent: outside, the bucket 5",
        "      audience qa: inside, on the list",
        "      window: ask, open",
    ]


@pytest.mark.parametrize(("expire", "is_told"), [(1_000, True), (1_001, False), (None, False)])
def test_offers_that_have_expired(expire: int | None, is_told: bool) -> None:
    """A decision without a valid offer is told to no device, and that is said."""
    lines = tell(
        make_release(verdict="decided"), reason="install", release="r1", version="1.0.0.0", offers_expire=expire
    )
    assert any("the device is told nothing" in line for line in lines) is is_told


def test_a_program_without_releases() -> None:
    """There is a decision all the same."""
    assert tell()[1:] == ["decision: no_release"]


def test_an_edge_that_is_none(run: Run, serve: Callable[[int, bytes], str], tmp_path: Path) -> None:
    """What is no edge is told as such."""
    (tmp_path / "token").write_text("a-token-of-the-tests")
    result = run("explain", FERRY, "--admin", serve(200, b"[]"), "--admin-token-file", tmp_path / "token")
    assert result.exit_code == 4


def fits(shown: str, output: str) -> bool:
    """Whether an output begins as a page shows it, where `…` stands for anything."""
    return re.match(re.escape(shown.rstrip()).replace("…", ".*"), output) is not None


def test_commands_of_the_page(graywave: Run, tmp_path: Path) -> None:
    """Whoever follows docs/explain.md sees what it shows."""
    blocks = read_blocks((ROOT / "docs" / "explain.md").read_text("utf-8"))
    scripts = [block.text for block in blocks if block.language == "sh"]
    shown = [block.text for block in blocks if block.language == "text"]
    assert len(scripts) == len(shown) == 3
    graywave("check", FERRY)
    for script, wanted in zip(scripts, shown, strict=True):
        output = ""
        for line in script.splitlines():
            command, _, path = line.partition(" > ")
            if command.startswith("sed "):
                subprocess.run(["/bin/sh", "-c", line], cwd=tmp_path, check=True)
                continue
            words = shlex.split(command)[1:]
            result = graywave("document get", *words[2:]) if words[0] == "document" else graywave(*words)
            assert result.exit_code == 0, result.output
            output = result.stdout
            if path:
                (tmp_path / path).write_text(output, "utf-8")
        assert fits(wanted, output), output
