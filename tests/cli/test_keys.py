"""Keys on the command line: made once, readable by their owner alone, never overwritten."""

import json
import os
import stat
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from trust import ROLES, PrivateKey, read_root

FILES = [*(f"{role}.key" for role in ROLES), "root.json"]


def test_a_key_for_each_role_and_a_root(run: Run, tmp_path: Path) -> None:
    """The root names the key of each role, and nobody but its owner can read a private key."""
    result = run("keys", "new", "keys", "--workspace", "wallet-prod")
    assert result.exit_code == 0
    root = read_root((tmp_path / "keys/root.json").read_bytes())
    assert root.workspace == "wallet-prod"
    for role in ROLES:
        path = tmp_path / "keys" / f"{role}.key"
        kid = PrivateKey.from_json(path.read_bytes()).kid
        assert list(root.keys(role)) == [kid]
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert f"{role:8} {kid}  keys/{role}.key" in result.stdout.splitlines()


def test_private_keys_are_private_under_any_umask(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is made with its mode, and never more open than that."""
    modes: dict[str, int] = {}
    opened = os.open

    def note(path: Path, flags: int, mode: int = 0o777) -> int:
        modes[Path(path).name] = mode
        return int(opened(path, flags, mode))

    monkeypatch.setattr("cli.keys.os.open", note)
    assert run("keys", "new", "keys", "--workspace", "demo").exit_code == 0
    assert [modes[name] for name in FILES] == [0o600] * len(ROLES) + [0o644]


def test_json(run: Run) -> None:
    """A script gets the key ids and where the root is."""
    told = json.loads(run("keys", "new", "keys", "--workspace", "demo", "--json").stdout)
    assert set(told["keys"]) == set(ROLES)
    assert (told["workspace"], told["root"]) == ("demo", "keys/root.json")


@pytest.mark.parametrize("name", FILES)
def test_nothing_is_overwritten(run: Run, tmp_path: Path, name: str) -> None:
    """Where one of the files is, none is written, and the message names it."""
    folder = tmp_path / "keys"
    folder.mkdir()
    (folder / name).write_text("mine")
    result = run("keys", "new", "keys", "--workspace", "demo")
    message = f"graywave: keys/{name} is there already: keys are never overwritten, name another folder\n"
    assert (result.exit_code, result.stderr) == (1, message)
    assert [path.name for path in folder.iterdir()] == [name]
    assert (folder / name).read_text() == "mine"


def test_a_link_is_not_followed(run: Run, tmp_path: Path) -> None:
    """A link that leads nowhere counts as there: whoever placed it would get the key."""
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/offer.key").symlink_to(tmp_path / "elsewhere")
    assert run("keys", "new", "keys", "--workspace", "demo").exit_code == 1
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("workspace", ["Wallet Prod", "wallet.prod", "wallet_prod", "", "-a"])
def test_a_workspace_that_is_none(run: Run, tmp_path: Path, workspace: str) -> None:
    """A name that publisher and edge would refuse is the caller's mistake, and no folder is made."""
    result = run("keys", "new", "keys", "--workspace", workspace)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"graywave: cannot make keys of workspace {workspace!r}: ")
    assert not (tmp_path / "keys").exists()


def test_a_folder_that_cannot_be_made(run: Run, tmp_path: Path) -> None:
    """A folder that cannot be made is named."""
    (tmp_path / "file").touch()
    result = run("keys", "new", "file/keys", "--workspace", "demo")
    assert result.exit_code == 1
    assert result.stderr.startswith("graywave: cannot make keys in file/keys: [Errno 20] Not a directory")
