"""The servers on the command line: their help, and settings or files that are wrong."""

from pathlib import Path

import pytest

from cli.serve import SETTINGS
from settings import describe
from tests.cli.conftest import Run

EDGE = {"REDIS": "unix:///nowhere.sock", "DATA": "edge", "WORKSPACES": "demo=root.json"}
PUBLISHER = {
    "REDIS": "unix:///nowhere.sock",
    "WORKSPACE": "demo",
    "FOLDER": "publisher",
    "ROOT": "keys/root.json",
    "OFFER_KEY": "keys/offer.key",
    "CHANNEL_KEY": "keys/channel.key",
    "TOKEN": "a-token-of-the-tests",
}


def set_up(monkeypatch: pytest.MonkeyPatch, server: str, given: dict[str, str]) -> None:
    """Sets a server's variables."""
    for name, value in given.items():
        monkeypatch.setenv(f"GRAYWAVE_{server.upper()}_{name}", value)


@pytest.mark.parametrize("server", SETTINGS)
def test_settings_are_in_the_help(run: Run, server: str) -> None:
    """The help has each setting's variable."""
    cls, prefix, section = SETTINGS[server]()
    shown = run(server, "--help").stdout
    assert f"[{section}]" in shown
    assert all(prefix + row.name.upper() in shown for row in describe(cls))


@pytest.mark.parametrize(("server", "words"), [("edge", "the edge's"), ("publisher", "the publisher's")])
def test_wrong_settings(run: Run, monkeypatch: pytest.MonkeyPatch, server: str, words: str) -> None:
    """All problems are told at once, with code 2."""
    set_up(monkeypatch, server, {"COLOUR": "red", "REDIS": "nonsense"})
    result = run(server)
    first, *problems = result.stderr.splitlines()
    assert (result.exit_code, first) == (2, f"graywave: {words} settings are wrong:")
    assert len(problems) > 2
    assert problems[0].startswith(f"GRAYWAVE_{server.upper()}_COLOUR: unknown setting")


@pytest.mark.parametrize("server", SETTINGS)
def test_a_file_that_is_not_there(run: Run, server: str) -> None:
    """A settings file that is not there is wrong usage."""
    result = run(server, "--config", "nowhere.toml")
    assert result.exit_code == 2
    assert "'nowhere.toml' does not exist" in result.stderr


@pytest.mark.parametrize(("server", "given"), [("edge", EDGE), ("publisher", PUBLISHER)])
def test_a_root_that_is_not_there(
    run: Run, monkeypatch: pytest.MonkeyPatch, server: str, given: dict[str, str]
) -> None:
    """A file that cannot be read is told in one line, with code 1."""
    set_up(monkeypatch, server, given)
    result = run(server)
    message = f"graywave: the {server} cannot start: [Errno 2] No such file or directory: '"
    assert result.exit_code == 1
    assert result.stderr.startswith(message)
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(("server", "given"), [("edge", EDGE), ("publisher", PUBLISHER)])
def test_a_root_of_another_workspace(
    run: Run, monkeypatch: pytest.MonkeyPatch, server: str, given: dict[str, str]
) -> None:
    """A root that is another workspace's is refused before anybody is served."""
    assert run("keys", "new", "keys", "--workspace", "other").exit_code == 0
    Path("root.json").symlink_to("keys/root.json")
    set_up(monkeypatch, server, given)
    result = run(server)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"graywave: the {server} cannot start: ")
    assert "'other'" in result.stderr


def test_reload_finds_the_edge(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The edge of the data folder is asked, however that is named; its refusal is told with code 3."""
    outcomes = [(True, "reloaded"), (True, "reloaded"), (False, "edge.workers: expected an integer")]
    asked: list[Path] = []

    def note(folder: Path, _timeout_s: float) -> tuple[bool, str]:
        asked.append(folder)
        return outcomes[len(asked) - 1]

    monkeypatch.setattr("edge.control.ask_reload", note)
    Path("edge.toml").write_text('[edge]\ndata = "data"\n', "utf-8")
    first = run("edge", "--config", "edge.toml", "reload")
    assert (first.exit_code, first.stdout) == (0, "reloaded\n")
    assert run("edge", "reload", "--data", "other").exit_code == 0
    set_up(monkeypatch, "edge", EDGE)
    third = run("edge", "reload")
    assert third.exit_code == 3
    assert third.stderr == (
        "graywave: the edge refused to reload, and goes on as before:\nedge.workers: expected an integer\n"
    )
    assert asked == [Path("data"), Path("other"), Path("edge")]


def test_reload_without_an_edge(run: Run) -> None:
    """Nobody to ask is told with code 4, no folder to look in with code 2."""
    Path("data").mkdir()
    result = run("edge", "reload", "--data", "data")
    message = "graywave: no edge answers in data: No such file or directory\n"
    assert (result.exit_code, result.stderr) == (4, message)
    result = run("edge", "reload")
    assert result.exit_code == 2
    assert "name the edge's data folder: --data, GRAYWAVE_EDGE_DATA or --config" in result.stderr
