"""`graywave backup` and `restore`: encrypted with the secrets or plain without, and no secret in a message."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyrage
import pytest
from click.testing import CliRunner, Result
from pyrage import x25519

from cli.exit import Exit
from cli.keys import make_keys
from cli.main import main
from publisher.store import Store
from tests.end_to_end.town import PATIENCE_S, ROOT, eventually

Run = Callable[..., Result]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A publisher's settings file, with a store and keys beside it."""
    make_keys(tmp_path / "keys", "demo", 4_102_444_800)
    Store(tmp_path / "store", "demo").close()
    return write_config(tmp_path)


def write_config(folder: Path) -> Path:
    """The settings file of a publisher that has everything in a folder."""
    folder.mkdir(exist_ok=True)
    path = folder / "publisher.toml"
    path.write_text(
        '[publisher]\nworkspace = "demo"\nredis = "redis://127.0.0.1"\nfolder = "store"\nroot = "keys/root.json"\n'
        'offer_key = "keys/offer.key"\nchannel_key = "keys/channel.key"\ntoken = "a-token-of-the-tests"\n'
        "unchecked_files = true\n"
    )
    return path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `graywave` with these words, in the folder of the settings, by which a key's address goes."""

    def run(config: Path, *words: object) -> Result:
        monkeypatch.chdir(config.parent)
        return CliRunner().invoke(main, [*map(str, words), "--config", str(config)])

    return run


@pytest.fixture
def identity(tmp_path: Path) -> tuple[str, Path]:
    """An age key: its public half, and a file as age-keygen writes it."""
    key = x25519.Identity.generate()
    path = tmp_path / "age.key"
    path.write_text(f"# created: today\n# public key: {key.to_public()}\n{key}\n")
    return str(key.to_public()), path


def test_encrypted_backup_brings_keys_back(run: Run, config: Path, identity: tuple[str, Path], tmp_path: Path) -> None:
    """To a recipient everything goes, readable with the identity alone."""
    recipient, path = identity
    done = run(config, "backup", tmp_path / "b.age", "--recipient", recipient)
    wanted = f"{tmp_path}/b.age has 4 files of workspace demo at 1-0, encrypted\n"
    assert (done.exit_code, done.output) == (0, wanted)
    content = (tmp_path / "b.age").read_bytes()
    assert content.startswith(b"age-encryption.org/v1")
    assert (tmp_path / "b.age").stat().st_mode & 0o777 == 0o600
    there = write_config(tmp_path / "there")
    done = run(there, "restore", tmp_path / "b.age", "--identity", path)
    assert done.output.startswith("workspace demo is back at 1-0, as of 2"), done.output
    for name in ("root.json", "offer.key", "channel.key"):
        assert (tmp_path / "there" / "keys" / name).read_bytes() == (tmp_path / "keys" / name).read_bytes()
    done = run(there, "restore", tmp_path / "b.age", "--identity", path)
    assert (done.exit_code, f"got other files: {tmp_path}/there/store/publisher.db" in done.output) == (
        Exit.REFUSED,
        True,
    )


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP])
def test_restore_that_is_stopped_leaves_no_key(
    run: Run, config: Path, identity: tuple[str, Path], tmp_path: Path, how: signal.Signals
) -> None:
    """A service manager, or a terminal that is closed, stops it within: what it had unpacked goes."""
    recipient, path = identity
    run(config, "backup", tmp_path / "b.age", "--recipient", recipient)
    tar = pyrage.decrypt((tmp_path / "b.age").read_bytes(), [x25519.Identity.from_str(path.read_text().split()[-1])])
    os.mkfifo(tmp_path / "slow")
    there = write_config(tmp_path / "there")
    words = [
        "env",
        f"--default-signal={how.name.removeprefix('SIG')}",
        sys.executable,
        "-m",
        "cli",
        "restore",
        "../slow",
    ]
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    with (
        subprocess.Popen([*words, "--config", there.name], cwd=there.parent, env=environ) as process,
        (tmp_path / "slow").open("wb") as slow,
    ):
        slow.write(tar[: len(tar) - len(tar) // 4])  # the manifest and small files, and the store not to its end
        slow.flush()
        eventually(lambda: list(there.parent.rglob("channel.key")))
        process.send_signal(how)
        assert process.wait(PATIENCE_S) != 0
    assert not list(there.parent.rglob("channel.key"))
    assert not list(there.parent.rglob(".restore-*"))


def test_plain_backup_has_no_secrets(run: Run, config: Path, tmp_path: Path) -> None:
    """Without a recipient the keys stay out, and what is missing afterwards is told."""
    done = run(config, "backup", tmp_path / "b.tar")
    assert done.output.endswith(" has 2 files of workspace demo at 1-0, without its keys and token\n")
    content = (tmp_path / "b.tar").read_bytes()
    assert not [key for key in ("offer", "channel") if (tmp_path / "keys" / f"{key}.key").read_bytes() in content]
    assert (tmp_path / "b.tar").stat().st_mode & 0o777 == 0o600
    done = run(write_config(tmp_path / "there"), "restore", tmp_path / "b.tar")
    assert done.exit_code == 0
    assert done.stderr.splitlines() == [
        f"not in the backup, and not there: keys/{name}.key" for name in ("channel", "offer")
    ]
    done = run(config, "backup", tmp_path / "b.tar")
    assert (done.exit_code, done.output) == (Exit.REFUSED, f"graywave: {tmp_path}/b.tar is there already\n")


def test_wrong_recipient_leaves_nothing(run: Run, config: Path, tmp_path: Path) -> None:
    """Who names no age key gets no file, not even a part of one."""
    before = sorted(tmp_path.iterdir())
    done = run(config, "backup", tmp_path / "b.age", "--recipient", "age1geheim")
    assert (done.exit_code, "geheim" in done.output) == (Exit.USAGE, False)
    assert sorted(tmp_path.iterdir()) == before


def test_wrong_identity_opens_nothing(run: Run, config: Path, identity: tuple[str, Path], tmp_path: Path) -> None:
    """Another key, a file that is none, and a backup that was changed lead to one message without secrets."""
    assert run(config, "backup", tmp_path / "b.age", "--recipient", identity[0]).exit_code == 0
    there = write_config(tmp_path / "there")
    (tmp_path / "other").write_text(str(x25519.Identity.generate()))
    (tmp_path / "none").write_text("AGE-SECRET-KEY-GEHEIM")
    for name in ("other", "none"):
        done = run(there, "restore", tmp_path / "b.age", "--identity", tmp_path / name)
        wanted = f"graywave: {tmp_path}/{name} does not open the backup, or it is damaged\n"
        assert (done.exit_code, done.output) == (Exit.UNVERIFIED, wanted)
    content = bytearray((tmp_path / "b.age").read_bytes())
    content[-20] ^= 1
    (tmp_path / "b.age").write_bytes(content)
    assert run(there, "restore", tmp_path / "b.age", "--identity", identity[1]).exit_code == Exit.UNVERIFIED
    assert run(there, "restore", tmp_path / "b.age").exit_code == Exit.REFUSED
    assert not [path for path in (tmp_path / "there").rglob("*") if path.is_file() and path != there]


def test_wrong_settings_are_told(run: Run, config: Path, tmp_path: Path) -> None:
    """Both commands read the publisher's settings, and say what is wrong with them; a store that is away is told."""
    bad = tmp_path / "bad.toml"
    bad.write_text("[publisher]\n")
    for words in (("backup", tmp_path / "b"), ("restore", config)):
        done = run(bad, *words)
        assert (done.exit_code, "the publisher's settings are wrong" in done.output) == (Exit.USAGE, True)
    done = run(write_config(tmp_path / "there"), "backup", tmp_path / "b")
    assert done.exit_code == Exit.FAILED
    assert "No such file" in done.output


def test_installation_without_age(run: Run, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the library of age is not installed a plain backup is made, and an encrypted one says what it lacks."""
    monkeypatch.setitem(sys.modules, "pyrage", None)
    assert run(config, "backup", tmp_path / "b.tar").exit_code == 0
    done = run(config, "backup", tmp_path / "b.age", "--recipient", "age1")
    assert (done.exit_code, "it lacks pyrage" in done.output) == (Exit.USAGE, True)
    done = run(config, "restore", tmp_path / "b.tar", "--identity", config)
    assert (done.exit_code, "it lacks pyrage" in done.output) == (Exit.USAGE, True)
