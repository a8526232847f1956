"""Updating on the command line: what a device gets, and how each failure ends."""

import itertools
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.client import make_client, open_signers, read_chain
from cli.exit import Exit
from cli.home import Home
from cli.publishing import open_publisher
from cli.update import choose_exit
from container import (
    ConfigError,
    Container,
    ContainerError,
    Device,
    EdgeError,
    FloorError,
    NetworkError,
    NotInstalledError,
    OverloadedError,
    StorageError,
    VerificationError,
    load_config,
)
from tests.cli.conftest import Run
from tests.cli.running import Running
from tests.end_to_end.town import ROOT
from trust import ClientClaim

Serve = Callable[[int, bytes], str]
TEA = "2021000000000002"
FERRY = "2021000000000001"
_programs = (f"20210000000021{number:02}" for number in itertools.count(1))


def test_a_program_is_installed(graywave: Run, tmp_path: Path) -> None:
    """What the device should have is active, and the next time there is nothing to do."""
    result = graywave("update", TEA, "--folder", "phone")
    first, second = result.stdout.splitlines()
    assert result.exit_code == 0
    assert first.startswith(f"{TEA} nothing -> 1.0.0: activated (")
    assert second.startswith(f"{TEA} 1.0.0 is active in phone/")
    folder = tmp_path / second.rpartition(" is active in ")[2]
    assert (folder / "index.html").read_bytes() == (ROOT / "config/demo/tea/1.0.0/index.html").read_bytes()
    again = graywave("update", "--folder", "phone")
    assert (again.exit_code, again.stdout.splitlines()) == (0, [second])


def test_json(graywave: Run) -> None:
    """A script gets what became of each program."""
    (told,) = json.loads(graywave("update", TEA, "--folder", "phone", "--json").stdout)
    assert told.pop("bytes") > 0
    assert told.pop("ms") >= 0
    assert told == {
        "program": TEA,
        "action": "install",
        "before": "",
        "version": "1.0.0",
        "status": "activated",
        "error": "",
        "reason": "",
        "transfer": "zstd",
        "active": "1.0.0",
        "floor": "",
    }
    assert json.loads(graywave("update", TEA, "--folder", "phone", "--json").stdout) == []


def test_facts_of_the_device_count(graywave: Run) -> None:
    """The device asks with its facts: a user of the whitelist gets the gray release."""
    device = [part for fact in ("user=u-777", "os=14", "app=10.2.3", "model=MI 10") for part in ("--device", fact)]
    assert "-> 1.1.0: activated" in graywave("update", FERRY, "--folder", "phone", *device).stdout


def test_nothing_to_do(graywave: Run) -> None:
    """Where nothing is installed and nothing named, that is said."""
    result = graywave("update", "--folder", "phone")
    assert (result.exit_code, result.stdout) == (0, "nothing is installed in phone, and nothing is to be\n")


def write_client(running: Running, path: Path, *edges: str) -> Path:
    """A client.json of the running Graywave's keys, for other edges."""
    documents, root = read_chain(running.data / "keys")
    claim = ClientClaim(workspace=root.workspace, issued=1, edges=edges)
    path.write_bytes(make_client(claim, documents, open_signers(running.data / "keys", (), root)))
    return path


def test_other_keys(graywave: Run, run: Run, running: Running) -> None:
    """A device that pins other keys believes nothing: code 5, the reason in the line, nothing active."""
    run("keys", "new", "other", "--workspace", "demo")
    run("client", "--keys", "other", "--edge", f"http://{running.edge}", "--out", "client.json")
    result = graywave("update", TEA, "--folder", "phone", "--config", "client.json")
    assert result.exit_code == 5
    assert result.stdout.startswith(f"{TEA} nothing -> 1.0.0: failed: ")
    assert "is active" not in result.stdout


def test_nobody_there(graywave: Run, running: Running, tmp_path: Path) -> None:
    """Where no edge answers, the code is 4."""
    client = write_client(running, tmp_path / "client.json", "http://127.0.0.1:1")
    result = graywave("update", TEA, "--folder", "phone", "--config", client)
    assert result.exit_code == 4
    assert result.stderr.startswith("graywave: ")


def test_an_edge_that_refuses(graywave: Run, running: Running, serve: Serve, tmp_path: Path) -> None:
    """What an edge refuses ends with code 3."""
    edge = serve(400, b'{"error": {"code": "bad_field", "message": "no"}}')
    client = write_client(running, tmp_path / "client.json", edge)
    assert graywave("update", TEA, "--folder", "phone", "--config", client).exit_code == 3


def test_no_configuration(run: Run) -> None:
    """Without a client.json nobody is asked: code 2, and the file's name."""
    result = run("update", TEA)
    assert result.exit_code == 2
    assert result.stderr.startswith("graywave: data/client.json: expected a file that can be read: ")


def test_a_folder_that_cannot_be_written(graywave: Run) -> None:
    """A folder that is a file ends with code 1."""
    Path("phone").touch()
    result = graywave("update", TEA, "--folder", "phone")
    assert result.exit_code == 1
    assert "phone" in result.stderr


@pytest.fixture
def program() -> str:
    """A program that nobody has published."""
    return next(_programs)


class Publish:
    """Publishes versions of a program to everybody, and waits until devices are told."""

    def __init__(self, graywave: Run, running: Running, program: str) -> None:
        self._graywave, self._running, self._program = graywave, running, program
        self._publisher = open_publisher(Home(running.data), None, None)

    def release(self, version: str, **release: object) -> None:
        """Packs and releases a version; `release` are members of its release."""
        source = Path(f"source-{version}")
        source.mkdir()
        (source / "index.html").write_text(version)
        packed = ("--program", self._program, "--version", version, "--out", f"out-{version}", "--level", "1")
        assert self._graywave("pack", source, *packed).exit_code == 0
        assert self._graywave("release", f"out-{version}").exit_code == 0
        self.change(lambda document: document["releases"][0].update(release))

    def change(self, change: Callable[[dict[str, Any]], object]) -> None:
        """Changes the program's document."""
        document, revision = self._publisher.get(self._program)
        assert document is not None
        change(document)
        published = self._publisher.put(document, revision).body["revision"]
        self._running.wait_everywhere(published)


@pytest.fixture
def publish(graywave: Run, running: Running, program: str) -> Publish:
    return Publish(graywave, running, program)


def test_what_waits_for_a_word_is_activated(graywave: Run, publish: Publish, program: str) -> None:
    """A version that only prompts is activated at once, and the line says why."""
    publish.release("1.0.0")
    graywave("update", program, "--folder", "phone")
    publish.release("1.1.0", urgency="prompt")
    first, second = graywave("update", "--folder", "phone").stdout.splitlines()
    assert first.startswith(f"{program} 1.0.0 -> 1.1.0: ready, and activated since you ask for it (")
    assert second.startswith(f"{program} 1.1.0 is active in phone/")
    publish.release("1.2.0", urgency="prompt")
    (told,) = json.loads(graywave("update", "--folder", "phone", "--json").stdout)
    assert (told["status"], told["before"], told["active"]) == ("ready", "1.1.0", "1.2.0")


def test_floor_is_named(graywave: Run, publish: Publish, program: str) -> None:
    """A version that nobody may open any more is named with the floor: code 3. Others are none of its concern."""
    publish.release("1.0.0")
    publish.release("1.2.0", who={"users": ["u-777"]})
    publish.change(lambda document: document.update(floor="1.2.0"))
    result = graywave("update", program, "--folder", "phone")
    assert result.exit_code == 3
    assert result.stdout.splitlines()[1].endswith(", but may not be opened: 1.2.0 is the lowest that may")
    assert graywave("update", TEA, "--folder", "phone").exit_code == 0
    user = ("--device", "user=u-777")
    (told,) = json.loads(graywave("update", program, "--folder", "phone", "--json", *user).stdout)
    assert (told["active"], told["floor"]) == ("1.2.0", "1.2.0")
    assert graywave("update", program, "--folder", "phone", *user).exit_code == 0


def test_what_did_not_come_up_is_declined(graywave: Run, publish: Publish, program: str, running: Running) -> None:
    """A version that was opened and did not come up is not activated again, and that is no failure."""
    publish.release("1.0.0")
    graywave("update", program, "--folder", "phone")
    container = Container(load_config(running.data / "client.json"), Path("phone"), Device("d", "android"))
    container.open(program)
    with pytest.raises(NotInstalledError):
        container.open(program)
    result = graywave("update", program, "--folder", "phone")
    said = f"{program} nothing -> 1.0.0: declined, since it did not come up here before\n"
    assert (result.exit_code, result.stdout) == (0, said)


def test_wifi_is_waited_for(graywave: Run, publish: Publish, program: str) -> None:
    """What is for Wi-Fi alone waits for it, and the line says so."""
    publish.release("1.0.0")
    publish.change(lambda document: document["packages"]["1.0.0"].update(download="wifi"))
    result = graywave("update", program, "--folder", "phone", "--device", "network=4g")
    assert (result.exit_code, result.stdout) == (0, f"{program} nothing -> 1.0.0: deferred until there is Wi-Fi\n")


def test_programs_of_the_configuration(graywave: Run, run: Run, running: Running) -> None:
    """A device that has a client.json alone, and nothing installed, gets the programs that it names."""
    edge = ("--edge", f"http://{running.edge}", "--program", TEA)
    run("client", "--keys", running.data / "keys", *edge, "--out", "client.json")
    result = graywave("update", "--folder", "phone", "--config", "client.json")
    assert result.stdout.startswith(f"{TEA} nothing -> 1.0.0: activated (")


def test_another_file_is_another_environment(graywave: Run, run: Run, running: Running) -> None:
    """What is active in one workspace is not in another, and is there again when one comes back."""
    graywave("update", TEA, "--folder", "phone")
    run("keys", "new", "other", "--workspace", "other")
    run("client", "--keys", "other", "--edge", f"http://{running.edge}", "--out", "client.json")
    result = graywave("update", "--folder", "phone", "--config", "client.json")
    assert (result.exit_code, result.stdout) == (0, "nothing is installed in phone, and nothing is to be\n")
    assert f"{TEA} 1.0.0 is active in " in graywave("update", "--folder", "phone").stdout


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (VerificationError("x", "offer_refused"), Exit.UNVERIFIED),
        (NetworkError("x"), Exit.UNREACHABLE),
        (OverloadedError("x", 503, "overloaded", 1), Exit.UNREACHABLE),
        (EdgeError("x"), Exit.REFUSED),
        (FloorError("x"), Exit.REFUSED),
        (ConfigError("x"), Exit.USAGE),
        (StorageError("x"), Exit.FAILED),
        (ContainerError("x"), Exit.FAILED),
    ],
)
def test_codes(error: ContainerError, code: Exit) -> None:
    """The exit code says who has to act."""
    assert choose_exit(error) == code


def test_progress_is_shown_to_people(running: Running, tmp_path: Path) -> None:
    """On a terminal a bar runs to its end for each download."""
    leader, follower = pty.openpty()
    arguments = ["update", TEA, "--folder", str(tmp_path / "phone"), "--data", str(running.data)]
    command = [sys.executable, "-m", "cli", *arguments]
    subprocess.run(command, cwd=ROOT, stderr=follower, stdout=subprocess.DEVNULL, check=True)
    os.close(follower)
    shown = os.read(leader, 65_536).decode()
    os.close(leader)
    assert shown.endswith(f"{TEA} [{'#' * 30}] 100 %\r\n")
