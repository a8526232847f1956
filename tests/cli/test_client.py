"""Making a client.json: signed by root keys, with the chain of roots, and believed by the SDK or told as not."""

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest

import cli.client
from cli.client import make_client, read_chain
from cli.exit import CommandError
from container import ConfigError, load_config, read_config
from tests.cli.conftest import Run
from tests.contract.test_schema import is_valid
from trust import ROLES, ClientClaim, PrivateKey, add_root_signature, make_root

EDGE = "http://127.0.0.1:8080"
PROGRAM = "2021000000000001"
LIFE_S = 4_000_000_000


@pytest.fixture
def keys(run: Run) -> Path:
    """A folder of keys as `graywave keys new` makes it."""
    run("keys", "new", "keys", "--workspace", "demo")
    return Path("keys")


def write_key(path: Path, key: PrivateKey) -> Path:
    path.touch(mode=0o600)
    path.write_bytes(key.to_json())
    return path


def replace_root(keys: Path, document: bytes) -> None:
    for name in ("root.json", "root.1.json"):
        (keys / name).write_bytes(document)


@pytest.fixture
def rotate(keys: Path) -> Callable[[], PrivateKey]:
    """Writes a second root whose keys are others, as root.2.json; returns its root key."""

    def rotate() -> PrivateKey:
        before, after = PrivateKey.from_json((keys / "root.key").read_bytes()), PrivateKey.generate()
        roles = {name: [after.public] for name in ROLES}
        (keys / "root.2.json").write_bytes(make_root("demo", 2, LIFE_S, roles, [before, after]))
        return after

    return rotate


@pytest.mark.usefixtures("keys")
def test_a_configuration_is_made(run: Run) -> None:
    """All that was given is in the file, signed, and the SDK believes it."""
    given = ("--edge", EDGE, "--edge", "https://e.test/", "--domain", "apps.test", "--poll-after", 60)
    result = run("client", "--keys", "keys", *given, "--program", PROGRAM, "--out", "client.json")
    assert (result.exit_code, result.stdout) == (0, "signed client.json\n")
    config = load_config(Path("client.json"))
    assert (config.workspace, config.edges, config.domain) == ("demo", (EDGE, "https://e.test"), "apps.test")
    assert (config.defaults.poll_after, config.defaults.programs, config.root.number) == (60, (PROGRAM,), 1)
    assert config.issued > 1_700_000_000


@pytest.mark.usefixtures("keys")
def test_form_is_that_of_the_contract(run: Run) -> None:
    """The file, and the claim within, have the shapes that ports of the SDK read."""
    run("client", "--keys", "keys", "--edge", EDGE, "--domain", "a.test", "--program", PROGRAM, "--out", "c.json")
    told = json.loads(Path("c.json").read_bytes())
    payload = told["client"].split(".")[1]
    assert is_valid("client", told)
    assert is_valid("client-claim", json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))))


@pytest.mark.usefixtures("keys")
def test_json(run: Run) -> None:
    """A script gets the file, and what a device has against it: nothing."""
    result = run("client", "--keys", "keys", "--edge", EDGE, "--out", "client.json", "--json")
    assert json.loads(result.stdout) == {"file": "client.json", "missing": ""}


def test_keys_of_the_data_folder(run: Run) -> None:
    """Without --keys those of the data folder sign."""
    run("keys", "new", "data/keys", "--workspace", "demo")
    assert run("client", "--edge", EDGE, "--out", "client.json").exit_code == 0


def test_successors_come_along(run: Run, keys: Path, rotate: Callable[[], PrivateKey]) -> None:
    """The chain of roots is in the file, and the last one's root key has signed; the former one lies there unused."""
    write_key(keys / "root.2.key", rotate())
    assert run("client", "--keys", keys, "--edge", EDGE, "--out", "client.json").exit_code == 0
    config = load_config(Path("client.json"))
    assert (config.root.number, len(config.roots)) == (2, 2)
    assert json.loads(config.roots[0]) == json.loads((keys / "root.json").read_bytes())


def test_newest_root_may_stand_twice(keys: Path, rotate: Callable[[], PrivateKey]) -> None:
    """root.json may be a copy of the newest; the same number twice with other bytes is a mistake."""
    rotate()
    (keys / "root.json").write_bytes((keys / "root.2.json").read_bytes())
    documents, root = read_chain(keys)
    assert (len(documents), root.number) == (2, 2)
    rotate()
    with pytest.raises(CommandError, match=r"root\.json: expected one root document number 2 in keys, got two"):
        read_chain(keys)


def test_of_many_roots_the_newest(
    keys: Path, rotate: Callable[[], PrivateKey], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there are more roots than a configuration takes, it begins with a later one."""
    rotate()
    monkeypatch.setattr(cli.client, "MAX_ROOTS", 1)
    documents, root = read_chain(keys)
    assert (len(documents), root.number) == (1, 2)


def test_other_files_are_no_roots(keys: Path) -> None:
    """What is not named as a root is left alone."""
    (keys / "root.draft.json").write_text("{")
    (keys / "roots.json").write_text("{")
    assert read_chain(keys)[1].number == 1


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("root.json", b"{", r"keys/root\.json: expected a root document that can be read: "),
        ("root.json", None, r"keys: expected root\.json, got none \(make keys: graywave keys new\)"),
    ],
)
def test_roots_that_do_not_do(keys: Path, name: str, data: bytes | None, message: str) -> None:
    """A root that is broken or absent is named."""
    for path in keys.glob("root*.json"):
        path.unlink()
    if data is not None:
        (keys / name).write_bytes(data)
    with pytest.raises(CommandError, match=message):
        read_chain(keys)


def test_chain_with_a_gap(keys: Path, rotate: Callable[[], PrivateKey]) -> None:
    """A root that does not follow is refused before anything is signed."""
    rotate()
    key = PrivateKey.generate()
    (keys / "root.2.json").write_bytes(make_root("demo", 2, LIFE_S, {name: [key.public] for name in ROLES}, [key]))
    with pytest.raises(CommandError, match="keys: expected root documents that follow each other: "):
        read_chain(keys)


def test_a_key_elsewhere(run: Run, keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A root key may come from a file elsewhere or the environment."""
    key = (keys / "root.key").rename("kept.key")
    arguments = ("client", "--keys", keys, "--edge", EDGE, "--out", "client.json")
    result = run(*arguments)
    assert (result.exit_code, Path("client.json").exists()) == (2, False)
    assert "expected a root key of root 1 in keys, got none: name it with --root-key" in result.stderr
    assert run(*arguments, "--root-key", key).exit_code == 0
    monkeypatch.setenv("ROOT_KEY", key.read_text())
    assert run(*arguments, "--root-key", "env:ROOT_KEY").exit_code == 0


def test_a_key_of_somebody_else(run: Run, keys: Path) -> None:
    """A key that the root does not have in its role root signs nothing."""
    result = run("client", "--keys", keys, "--edge", EDGE, "--out", "c.json", "--root-key", keys / "offer.key")
    assert result.exit_code == 2
    assert "graywave: expected root keys of root 1 (" in result.stderr
    assert not Path("c.json").exists()


def test_a_key_that_cannot_be_read(run: Run, keys: Path) -> None:
    """A key that is none is told with custody's words."""
    result = run("client", "--keys", keys, "--edge", EDGE, "--out", "c.json", "--root-key", "absent.key")
    assert result.exit_code == 2
    assert result.stderr.startswith("graywave: cannot use a root key: ")


@pytest.mark.parametrize(
    "arguments", [(), ("--edge", EDGE), ("--out", "c.json")], ids=["nothing", "no file", "no edge"]
)
def test_what_is_needed(run: Run, keys: Path, arguments: tuple[str, ...]) -> None:
    """A configuration needs an address and a file."""
    result = run("client", "--keys", keys, *arguments)
    assert result.exit_code == 2
    assert "expected --edge and --out, or --sign with a file that was made so" in result.stderr


@pytest.mark.parametrize(
    "wrong", [("--edge", "edge.test"), ("--domain", "Apps Test"), ("--program", "1"), ("--edge", "http://u@e.test")]
)
def test_what_cannot_be_said(run: Run, keys: Path, wrong: tuple[str, str]) -> None:
    """What a device would not read is not signed."""
    result = run("client", "--keys", keys, "--edge", EDGE, *wrong, "--out", "c.json")
    assert result.exit_code == 2
    assert result.stderr.startswith("graywave: cannot make a client configuration: ")
    assert not Path("c.json").exists()


def test_root_that_has_expired(run: Run, keys: Path) -> None:
    """An expired root ships in no new configuration."""
    key = PrivateKey.from_json((keys / "root.key").read_bytes())
    replace_root(keys, make_root("demo", 1, 1, {name: [key.public] for name in ROLES}, [key]))
    result = run("client", "--keys", keys, "--edge", EDGE, "--out", "c.json")
    assert (result.exit_code, result.stderr) == (
        2, "graywave: expected a root that has not expired in keys, got root 1\n",
    )  # fmt: skip


def make_held_apart(keys: Path) -> tuple[Path, Path]:
    """Lets the root want two root keys, and returns where they lie."""
    one, two = PrivateKey.generate(), PrivateKey.generate()
    roles = {name: [one.public, two.public] if name == "root" else [one.public] for name in ROLES}
    replace_root(keys, make_root("demo", 1, LIFE_S, roles, [one, two], thresholds={"root": 2}))
    (keys / "root.key").unlink()
    return write_key(Path("one.key"), one), write_key(Path("two.key"), two)


def test_keys_that_are_held_apart(run: Run, keys: Path) -> None:
    """Where two root keys have to sign, one begins, the file says what is missing, and the other adds to it."""
    one, two = make_held_apart(keys)
    first = run("client", "--keys", keys, "--edge", EDGE, "--root-key", one, "--out", "client.json")
    assert first.exit_code == 0
    assert first.stdout.splitlines()[0].startswith("client.json is not believed yet: client: expected signatures of 2 ")
    assert first.stdout.splitlines()[1] == (
        "add the other root keys: graywave client --sign client.json --root-key ADDRESS"
    )
    with pytest.raises(ConfigError):
        load_config(Path("client.json"))
    second = run("client", "--sign", "client.json", "--root-key", two)
    assert (second.exit_code, second.stdout) == (0, "signed client.json\n")
    assert load_config(Path("client.json")).edges == (EDGE,)


def test_a_key_signs_once(run: Run, keys: Path) -> None:
    """The same key twice is not two keys."""
    one, _ = make_held_apart(keys)
    run("client", "--keys", keys, "--edge", EDGE, "--root-key", one, "--out", "client.json")
    before = Path("client.json").read_bytes()
    result = run("client", "--sign", "client.json", "--root-key", one)
    assert result.exit_code == 2
    assert result.stderr.startswith("graywave: client.json: cannot be signed: expected a key that has not signed yet")
    assert Path("client.json").read_bytes() == before


@pytest.mark.parametrize("data", [None, b"{", b'{"format":1,"roots":[],"client":"x"}'])
def test_a_file_that_cannot_be_signed(run: Run, keys: Path, data: bytes | None) -> None:
    """A file that is absent or none is named."""
    if data is not None:
        Path("c.json").write_bytes(data)
    result = run("client", "--keys", keys, "--sign", "c.json")
    assert result.exit_code == 2
    assert result.stderr.startswith("graywave: c.json: cannot be signed: ")


def test_a_file_that_cannot_be_written(run: Run, keys: Path) -> None:
    """A folder that is not there is named."""
    result = run("client", "--keys", keys, "--edge", EDGE, "--out", "absent/c.json")
    assert result.exit_code == 1
    assert result.stderr.startswith("graywave: cannot write absent/c.json: ")


def test_only_what_is_believed_is_made() -> None:
    """`make_client` hands out nothing that a device would refuse."""
    key, other = PrivateKey.generate(), PrivateKey.generate()
    document = make_root("demo", 1, LIFE_S, {name: [key.public] for name in ROLES}, [key])
    claim = ClientClaim(workspace="demo", issued=1, edges=(EDGE,))
    assert read_config(make_client(claim, [document], [key])).workspace == "demo"
    with pytest.raises(ConfigError, match="client: expected the kid of a known key"):
        make_client(claim, [document], [other])
    with pytest.raises(ConfigError, match="roots: "):
        make_client(claim, [document, add_root_signature(document, other)], [key])
