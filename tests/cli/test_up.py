"""`graywave up` where it cannot start; how it runs is in tests/end_to_end."""

import importlib.util
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cli import up
from cli.exit import CommandError
from container import load_config
from tests.cli.conftest import Run
from tests.cli.running import find_ports
from tests.end_to_end.town import ROOT


@pytest.fixture
def start(run: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    """Tries to start; returns exit code and message. The handlers of signals are as before."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # as scripts/graywave does it
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}

    def start(*arguments: object) -> tuple[int, str]:
        try:
            result = run("up", "--port", find_ports(), *arguments)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        assert result.stdout == ""
        return result.exit_code, result.stderr

    return start


def test_a_folder_that_cannot_be_used(start: Callable[..., tuple[int, str]]) -> None:
    """A folder that cannot be made is named."""
    Path("file").touch()
    code, said = start("--data", "file/data")
    assert code == 2
    assert said.startswith("graywave: cannot use the data folder file/data: [Errno 20] Not a directory")


def test_no_redis(start: Callable[..., tuple[int, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any Redis the message says what to install or to set, and no address stays behind."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    code, said = start()
    found = "found no valkey-server or redis-server (Debian: apt-get install redis-server)"
    assert (code, said) == (1, f"graywave: no private Redis: {found}, or name one with GRAYWAVE_REDIS\n")
    assert not Path("data/addresses.json").exists()


def test_a_redis_that_is_none(start: Callable[..., tuple[int, str]]) -> None:
    """A server that ends at its start is told with its own last line and its log."""
    code, said = start("--redis", "nonsense")
    assert code == 1
    assert said.startswith("graywave: the publisher ended with code ")
    assert "redis" in said
    assert said.endswith("(see data/publisher.log)\n")


def test_a_folder_of_an_earlier_version_gets_what_it_lacks(start: Callable[..., tuple[int, str]]) -> None:
    """A folder without a key of fingerprints gets one, and keeps its other keys."""
    start("--redis", "nonsense")
    before = {path.name: path.read_bytes() for path in Path("data/keys").iterdir()}
    Path("data/keys/fingerprint.key").unlink()
    start("--redis", "nonsense")
    after = {path.name: path.read_bytes() for path in Path("data/keys").iterdir()}
    assert [name for name in after if after[name] != before.get(name)] == ["fingerprint.key"]


def test_keys_and_token_are_private_and_stay(start: Callable[..., tuple[int, str]]) -> None:
    """What a first start makes is its owner's alone, and another start leaves it as it is."""
    start("--redis", "nonsense")
    private = [*sorted(Path("data/keys").glob("*.key")), Path("data/token")]
    assert [path.stat().st_mode & 0o777 for path in private] == [0o600] * 6
    before = [path.read_bytes() for path in private]
    start("--redis", "nonsense")
    assert [path.read_bytes() for path in private] == before


def test_client_is_signed(start: Callable[..., tuple[int, str]]) -> None:
    """client.json is one that a device believes, with the edge of this start, also where an older form was there."""
    Path("data").mkdir()
    Path("data/client.json").write_text('{"workspace": "demo"}')
    start("--redis", "nonsense")
    config = load_config(Path("data/client.json"))
    assert config.workspace == "demo"
    assert config.edges[0].startswith("http://127.0.0.1:")


def test_root_key_may_be_taken_away(start: Callable[..., tuple[int, str]]) -> None:
    """Without its root key a start says that client.json stays as it is, and goes on."""
    start("--redis", "nonsense")
    before = Path("data/client.json").read_bytes()
    Path("data/keys/root.key").unlink()
    code, said = start("--redis", "nonsense")
    first, second = said.splitlines()
    assert (code, Path("data/client.json").read_bytes()) == (1, before)
    assert first.startswith("data/client.json stays as it is, cannot make another: expected a root key of root 1 in ")
    assert second.startswith("graywave: the publisher ended with code ")


def test_roots_that_cannot_be_read(start: Callable[..., tuple[int, str]]) -> None:
    """Keys without their root document start nothing."""
    start("--redis", "nonsense")
    for path in Path("data/keys").glob("root*.json"):
        path.unlink()
    assert start("--redis", "nonsense")[1].startswith("graywave: data/keys: expected root.json, got none")


def test_a_start_that_was_cut_off(start: Callable[..., tuple[int, str]]) -> None:
    """What an interrupted start has half made is made again."""
    Path("data/keys.new").mkdir(parents=True)
    Path("data/keys.new/root.key").write_text("half")
    Path("data/token.new").write_text("half")
    start("--redis", "nonsense")
    assert Path("data/keys/root.json").exists()
    assert len(Path("data/token").read_text()) > 30
    assert not list(Path("data").glob("*.new"))


def test_a_server_that_is_never_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that runs and does not answer is told with its last line and its log."""
    monkeypatch.setattr(up, "START_TIMEOUT_S", 0.2)
    (tmp_path / "log").write_text("first\nredis cannot be reached\n")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        server = up._Server("edge", process, tmp_path / "log")
        with pytest.raises(CommandError) as caught:
            up._wait(f"http://127.0.0.1:{find_ports()}", server)
    message = f"the edge was not ready within 0 s: redis cannot be reached (see {tmp_path / 'log'})"
    assert caught.value.message == message


def test_an_edge_has_reached_a_revision_in_each_worker() -> None:
    """The demo can be asked for when the syncer has it, and every worker what the syncer has."""
    status = {"workspaces": {"demo": {"revision": 2}}, "row": 5, "workers": [{"cursor": 5}, {"cursor": 5}]}
    assert up.has_reached(status, 2)
    assert not up.has_reached(status, 3)
    assert not up.has_reached({**status, "row": 6}, 2)
    assert not up.has_reached({**status, "workers": [{"cursor": 5}, {"cursor": 4}]}, 2)
