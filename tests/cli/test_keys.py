"""Keys on the command line: each step of their life; files readable by their owner alone, and never overwritten."""

import json
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.ceremony import read_current
from cli.keys import Shape, make_keys
from settings.key import read_key
from tests.cli.conftest import Run
from tests.custody.softhsm import SoftToken, start_token
from tests.docs.page import read_blocks
from tests.end_to_end.town import ROOT
from trust import (
    ALGORITHMS,
    ROLES,
    AlgorithmName,
    PrivateKey,
    Role,
    Root,
    follow_roots,
    read_root,
    read_successor,
    verify_package,
)

FILES = [*(f"{role}.key" for role in ROLES), "root.1.json", "root.json"]


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

    monkeypatch.setattr("cli.ceremony.os.open", note)
    assert run("keys", "new", "keys", "--workspace", "demo").exit_code == 0
    assert [modes[name] for name in FILES] == [0o600] * len(ROLES) + [0o644] * 2


def test_a_fingerprint_key(run: Run, tmp_path: Path) -> None:
    """It is what the servers read, another one each time, private, and never overwritten."""
    for name in ("1.key", "2.key"):
        result = run("keys", "fingerprint", name)
        assert (result.exit_code, result.stdout) == (0, f"made {name}\n")
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    first, second = (read_key(tmp_path / name) for name in ("1.key", "2.key"))
    assert first != second
    result = run("keys", "fingerprint", "1.key")
    assert (result.exit_code, "1.key is there already" in result.stderr) == (1, True)
    assert read_key(tmp_path / "1.key") == first
    result = run("keys", "fingerprint", "nowhere/1.key")
    assert (result.exit_code, "cannot make the key nowhere/1.key: [Errno 2]" in result.stderr) == (1, True)


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


# The workspace `demo` in the folder `keys`: two of three root keys have to sign, all at hand.
Begin = Callable[..., Root]


@pytest.fixture
def begin(tmp_path: Path) -> Begin:
    """Makes the keys of a workspace, and returns its first root."""

    def begin(**shape: Any) -> Root:
        plain = {"counts": {"root": 3}, "thresholds": {"root": 2}}
        make_keys(tmp_path / "keys", "demo", int(time.time()) + 86_400, Shape(**(plain | shape)))
        return read_root((tmp_path / "keys/root.json").read_bytes())

    return begin


def follow(folder: Path, start: Root) -> Root:
    """Returns the newest root of a folder as a device finds it that knows the first."""
    numbers = sorted(int(path.name.split(".")[1]) for path in folder.glob("root.*.json"))
    last = follow_roots(start, [(folder / f"root.{number}.json").read_bytes() for number in numbers[1:]])
    assert (folder / "root.json").read_bytes() == (folder / f"root.{last.number}.json").read_bytes()
    return last


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_new_with_counts_thresholds_and_algorithm(run: Run, tmp_path: Path, name: AlgorithmName) -> None:
    """A workspace begins with as many keys as wanted, of the kind that is wanted."""
    options = ["--count", "root=3", "--threshold", "root=2", "--count", "offer=2", "--algorithm", name]
    told = json.loads(run("keys", "new", "keys", "--workspace", "demo", *options, "--json").stdout)
    names = ["root", "root-2", "root-3", "package", "offer", "offer-2", "channel"]
    assert list(told["keys"]) == names
    root = read_root((tmp_path / "keys/root.json").read_bytes())
    assert {role: (one.threshold, len(one.keys)) for role, one in root.roles.items()} == {
        "root": (2, 3),
        "package": (1, 1),
        "offer": (1, 2),
        "channel": (1, 1),
    }
    assert {key.algorithm for role in ROLES for key in root.keys(role).values()} == {name}
    assert (tmp_path / "keys/root.1.json").read_bytes() == (tmp_path / "keys/root.json").read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--threshold", "root"],
            "expected ROLE=N with a role of root, package, offer, channel and 1 to 16, got 'root'",
        ),
        (["--threshold", "cat=2"], "expected ROLE=N with a role of"),
        (["--count", "root=0"], "expected ROLE=N with a role of"),
        (["--count", "root=17"], "expected ROLE=N with a role of"),
        (["--threshold", "root=2"], "role root: expected a threshold of at most its 1 keys, got 2"),
        (["--count", "channel=2", "--threshold", "channel=2"], "role channel: expected a threshold of 1, got 2"),
        (["--algorithm", "HS256"], "'HS256' is not one of 'Ed25519', 'ES256', 'RS256'"),
        (["--days", "0"], "0 is not in the range"),
    ],
)
def test_new_with_wrong_options(run: Run, tmp_path: Path, options: list[str], message: str) -> None:
    """Options that no root could have are the caller's mistake, and nothing is made."""
    result = run("keys", "new", "keys", "--workspace", "demo", *options)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
    assert not (tmp_path / "keys").exists()


def test_show(run: Run, begin: Begin) -> None:
    """A root is shown with roles, keys, thresholds, expiry, epoch and who has signed it; a folder's is its newest."""
    root = begin()
    lines = run("keys", "show", "keys").stdout.splitlines()
    assert lines[0].startswith("root 1 of demo, epoch 1, expires 20")
    kid = next(iter(root.keys("root")))
    assert lines[1:3] == ["root: 2 of 3", f"  {kid}  Ed25519, has signed this root"]
    assert lines[5:7] == ["package: 1 of 1", f"  {next(iter(root.keys('package')))}  Ed25519"]
    told = json.loads(run("keys", "show", "keys/root.1.json", "--json").stdout)
    assert (told["workspace"], told["number"], told["epoch"], told["expires"]) == ("demo", 1, 1, root.expires)
    assert told["roles"]["root"]["threshold"] == 2
    assert [key["kid"] for key in told["roles"]["root"]["keys"]] == list(root.keys("root"))
    assert told["signed"] == sorted(root.keys("root"))


def test_show_says_whom_nobody_believes(run: Run, begin: Begin, tmp_path: Path) -> None:
    """A root with too few signatures is shown, and called what it is; what is no root is refused."""
    begin()
    document = json.loads((tmp_path / "keys/root.json").read_bytes())
    (tmp_path / "weak.json").write_text(json.dumps({**document, "signatures": document["signatures"][:1]}))
    result = run("keys", "show", "weak.json")
    assert result.exit_code == 5
    assert result.stderr == "graywave: weak.json: too few of its own root keys have signed it\n"
    (tmp_path / "no.json").write_text("{}")
    result = run("keys", "show", "no.json")
    assert (result.exit_code, result.stdout) == (5, "")


def test_show_of_an_expiry_beyond_calendars(run: Run, tmp_path: Path) -> None:
    """An expiry that no calendar has is shown as a number."""
    make_keys(tmp_path / "keys", "demo", 2**53 - 1)
    assert "expires 9007199254740991" in run("keys", "show", "keys").stdout


def test_add_makes_a_key(run: Run, begin: Begin, tmp_path: Path) -> None:
    """A key is made for a role and named by the next root; it has a file of its own, for its owner alone."""
    start = begin()
    result = run("keys", "add", "keys", "package")
    assert result.exit_code == 0
    path = tmp_path / "keys/package-2.key"
    key = PrivateKey.from_json(path.read_bytes())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    root = follow(tmp_path / "keys", start)
    assert list(root.keys("package")) == [*start.keys("package"), key.kid]
    assert (root.number, root.expires, root.epoch) == (2, start.expires, start.epoch)
    assert result.stdout == f"key      {key.kid}  keys/package-2.key\ncomplete keys/root.2.json\n"
    told = json.loads(run("keys", "add", "keys", "package", "--algorithm", "ES256", "--json").stdout)
    assert PrivateKey.from_json((tmp_path / "keys/package-3.key").read_bytes()).public.algorithm == "ES256"
    assert told["file"] == "keys/package-3.key"
    assert {name: told[name] for name in ("state", "number", "epoch", "path", "missing")} == {
        "state": "complete",
        "number": 3,
        "epoch": 1,
        "path": "keys/root.3.json",
        "missing": {"before": 0, "own": 0},
    }


def test_add_takes_a_public_key(run: Run, begin: Begin, tmp_path: Path) -> None:
    """A key that lies elsewhere is named by its public half, as `keys public` prints it."""
    start = begin()
    key = PrivateKey.generate("RS256")
    (tmp_path / "theirs.key").write_bytes(key.to_json())
    (tmp_path / "theirs.key").chmod(0o600)
    printed = run("keys", "public", "theirs.key").stdout
    assert json.loads(printed) == key.public.jwk()
    (tmp_path / "theirs.json").write_text(printed)
    assert run("keys", "add", "keys", "offer", "--key", "theirs.json").exit_code == 0
    assert key.kid in follow(tmp_path / "keys", start).keys("offer")
    assert [path.name for path in (tmp_path / "keys").glob("offer*")] == ["offer.key"]


def test_a_key_is_not_added_twice(run: Run, begin: Begin, tmp_path: Path) -> None:
    """A role has a key once, and nothing is written when it has it."""
    begin()
    before = snapshot(tmp_path / "keys")
    result = run("keys", "add", "keys", "offer", "--key", "keys/offer.key")
    assert result.exit_code == 2
    assert result.stderr.startswith("graywave: role offer has key ")
    assert snapshot(tmp_path / "keys") == before


def test_revoke(run: Run, begin: Begin, tmp_path: Path) -> None:
    """A key that is revoked is not in the next root."""
    start = begin()
    gone, *kept = start.keys("root")
    assert run("keys", "revoke", "keys", "root", gone).exit_code == 0
    assert list(follow(tmp_path / "keys", start).keys("root")) == kept


def test_revoke_of_what_is_needed_or_unknown(run: Run, begin: Begin, tmp_path: Path) -> None:
    """A role keeps as many keys as have to sign, and only its own keys can go."""
    start = begin()
    before = snapshot(tmp_path / "keys")
    kid = next(iter(start.keys("offer")))
    result = run("keys", "revoke", "keys", "offer", kid)
    message = "graywave: role offer needs 1 of its keys: add one first, or rotate this one\n"
    assert (result.exit_code, result.stderr) == (2, message)
    result = run("keys", "revoke", "keys", "package", kid)
    assert result.exit_code == 2
    assert result.stderr.startswith("graywave: expected a key of role package (")
    assert snapshot(tmp_path / "keys") == before


@pytest.mark.parametrize("kid", ["-3xyz", "-hxyz", "--xyz"])
def test_revoke_takes_an_id_that_begins_with_a_dash(run: Run, begin: Begin, kid: str) -> None:
    """Key ids are base64url: one in 64 begins with a dash, and is no option."""
    begin()
    result = run("keys", "revoke", "keys", "offer", kid)
    assert result.exit_code == 2
    assert result.stderr.startswith("graywave: expected a key of role offer (")


def test_revoke_below_the_threshold(run: Run, begin: Begin) -> None:
    """Where two of two keys have to sign, neither can go, and the message says what to do."""
    start = begin(counts={"root": 2})
    result = run("keys", "revoke", "keys", "root", next(iter(start.keys("root"))))
    message = "graywave: role root needs 2 of its keys: add one first, or rotate this one\n"
    assert (result.exit_code, result.stderr) == (2, message)


def test_a_key_that_no_root_could_name_is_not_made(run: Run, begin: Begin, tmp_path: Path) -> None:
    """Where a role is full, no key is left behind."""
    begin(counts={"package": 16}, thresholds={})
    before = snapshot(tmp_path / "keys")
    result = run("keys", "add", "keys", "package")
    assert result.exit_code == 2
    assert result.stderr.startswith(
        "graywave: cannot make root 2: expected a root document: Expected `array` of length"
    )
    assert snapshot(tmp_path / "keys") == before


@pytest.mark.parametrize("role", ["package", "offer", "channel"])
def test_rotate(run: Run, begin: Begin, tmp_path: Path, role: str) -> None:
    """A new key comes into a role and the old one goes; the old file stays where it is."""
    start = begin()
    assert run("keys", "rotate", "keys", role).exit_code == 0
    kid = PrivateKey.from_json((tmp_path / f"keys/{role}-2.key").read_bytes()).kid
    assert list(follow(tmp_path / "keys", start).keys(role)) == [kid]
    assert (tmp_path / f"keys/{role}.key").exists()


def test_rotate_of_a_root_key(run: Run, begin: Begin, tmp_path: Path) -> None:
    """A root key of several is rotated by its id, the new one signs with the old ones."""
    start = begin()
    result = run("keys", "rotate", "keys", "root")
    assert result.exit_code == 2
    assert result.stderr.startswith("graywave: role root has 3 keys: say which goes, with --old: ")
    gone = list(start.keys("root"))[1]
    assert run("keys", "rotate", "keys", "root", "--old", gone).exit_code == 0
    kid = PrivateKey.from_json((tmp_path / "keys/root-4.key").read_bytes()).kid
    assert set(follow(tmp_path / "keys", start).keys("root")) == set(start.keys("root")) - {gone} | {kid}


def test_rotate_of_the_only_root_key(run: Run, begin: Begin, tmp_path: Path) -> None:
    """The one root key is replaced by one that signs the next roots alone."""
    start = begin(counts={}, thresholds={})
    assert run("keys", "rotate", "keys", "root").exit_code == 0
    (tmp_path / "keys/root.key").unlink()
    assert run("keys", "renew", "keys").exit_code == 0
    root = follow(tmp_path / "keys", start)
    assert root.number == 3
    assert not root.keys("root").keys() & start.keys("root").keys()


def test_renew(run: Run, begin: Begin, tmp_path: Path) -> None:
    """A root gets a new life, counted from now; nothing else changes."""
    start = begin()
    assert run("keys", "renew", "keys", "--days", "10").exit_code == 0
    root = follow(tmp_path / "keys", start)
    assert 9 * 86_400 < root.expires - time.time() <= 10 * 86_400
    assert (root.roles, root.epoch) == (start.roles, start.epoch)


def test_an_expired_root_is_renewed(run: Run, tmp_path: Path) -> None:
    """A root that has expired can still be renewed by its keys."""
    make_keys(tmp_path / "keys", "demo", 1)
    assert run("keys", "renew", "keys").exit_code == 0
    assert read_root((tmp_path / "keys/root.json").read_bytes(), int(time.time())).number == 2


def test_threshold(run: Run, begin: Begin, tmp_path: Path) -> None:
    """A threshold is raised and lowered, never above the keys there are."""
    start = begin()
    assert run("keys", "threshold", "keys", "root", "3").exit_code == 0
    assert follow(tmp_path / "keys", start).role("root").threshold == 3
    assert run("keys", "threshold", "keys", "root", "1").exit_code == 0
    assert follow(tmp_path / "keys", start).role("root").threshold == 1
    result = run("keys", "threshold", "keys", "package", "2")
    message = "graywave: cannot make root 4: role package: expected a threshold of at most its 1 keys, got 2\n"
    assert (result.exit_code, result.stderr) == (2, message)


def test_reset_epoch(run: Run, begin: Begin, tmp_path: Path) -> None:
    """The epoch grows by one, signed by the root; nothing else changes."""
    start = begin()
    told = json.loads(run("keys", "reset-epoch", "keys", "--json").stdout)
    root = follow(tmp_path / "keys", start)
    assert (told["epoch"], root.epoch) == (2, 2)
    assert (root.roles, root.expires) == (start.roles, start.expires)


# Root keys that are elsewhere: ceremonies.


def take_away(tmp_path: Path, *names: str) -> list[Path]:
    """Moves root keys to where their holders are."""
    away = tmp_path / "away"
    away.mkdir(exist_ok=True)
    return [(tmp_path / "keys" / f"{name}.key").rename(away / f"{name}.key") for name in names]


def test_root_keys_are_named_where_they_are(run: Run, begin: Begin, tmp_path: Path) -> None:
    """Root keys that lie elsewhere are given by their addresses, of any kind."""
    start = begin()
    one, two, _ = take_away(tmp_path, "root", "root-2", "root-3")
    os.environ["THE_ROOT_KEY"] = two.read_text()
    try:
        result = run("keys", "renew", "keys", "--root-key", one, "--root-key", "env:THE_ROOT_KEY")
    finally:
        del os.environ["THE_ROOT_KEY"]
    assert result.exit_code == 0
    assert follow(tmp_path / "keys", start).number == 2


def test_a_key_that_is_no_root_key_is_refused(run: Run, begin: Begin, tmp_path: Path) -> None:
    """Whoever names a key that has no say is told so, and nothing is written."""
    begin()
    before = snapshot(tmp_path / "keys")
    result = run("keys", "renew", "keys", "--root-key", "keys/offer.key")
    assert result.exit_code == 2
    assert result.stderr.startswith("graywave: expected a root key at keys/offer.key, got ")
    result = run("keys", "renew", "keys", "--root-key", "nowhere.key")
    assert result.exit_code == 2
    assert result.stderr.startswith("graywave: cannot use a key: nowhere.key: expected a file that can be read")
    assert snapshot(tmp_path / "keys") == before


def test_an_old_root_key_in_the_folder_does_no_harm(run: Run, begin: Begin, tmp_path: Path) -> None:
    """A revoked root key whose file is still there is passed over, and signs nothing."""
    start = begin()
    assert run("keys", "revoke", "keys", "root", next(iter(start.keys("root")))).exit_code == 0
    assert run("keys", "renew", "keys").exit_code == 0
    assert follow(tmp_path / "keys", start).number == 3
    assert len(json.loads((tmp_path / "keys/root.3.json").read_bytes())["signatures"]) == 2


def test_ceremony(run: Run, begin: Begin, tmp_path: Path) -> None:
    """A root waits until its last signature has come, from other machines; then it takes its place."""
    start = begin()
    one, two, _ = take_away(tmp_path, "root", "root-2", "root-3")
    result = run("keys", "rotate", "keys", "offer")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1:] == [
        "pending keys/root.2.json.pending",
        "it wants 2 more of the root keys of root 1",
        "it wants 2 more of its own root keys",
        "add them with: graywave keys sign keys/root.2.json.pending --key ADDRESS",
    ]
    assert follow(tmp_path / "keys", start).number == 1
    # With the first holder there is nothing but the file.
    (tmp_path / "stick").mkdir()
    stick = (tmp_path / "keys/root.2.json.pending").rename(tmp_path / "stick/root.2.json.pending")
    result = run("keys", "sign", stick, "--key", one)
    assert (result.exit_code, result.stdout.startswith(f"pending  {stick}: the root before it is elsewhere")) == (
        0,
        True,
    )
    # Where its folder is, the second signs.
    stick.rename(tmp_path / "keys/root.2.json.pending")
    told = json.loads(run("keys", "sign", "keys/root.2.json.pending", "--json").stdout)
    assert (told["state"], told["missing"]) == ("pending", {"before": 1, "own": 1})
    assert run("keys", "show", "keys/root.2.json.pending").exit_code == 0
    result = run("keys", "sign", "keys/root.2.json.pending", "--key", two)
    assert (result.exit_code, result.stdout) == (0, "complete keys/root.2.json\n")
    assert not (tmp_path / "keys/root.2.json.pending").exists()
    kid = PrivateKey.from_json((tmp_path / "keys/offer-2.key").read_bytes()).kid
    assert list(follow(tmp_path / "keys", start).keys("offer")) == [kid]


def test_ceremony_that_ends_elsewhere(run: Run, begin: Begin, tmp_path: Path) -> None:
    """All signatures may be made away from the folder; at home the root is then put in its place without a key."""
    start = begin()
    one, two, _ = take_away(tmp_path, "root", "root-2", "root-3")
    run("keys", "renew", "keys")
    (tmp_path / "stick").mkdir()
    stick = (tmp_path / "keys/root.2.json.pending").rename(tmp_path / "stick/it")
    told = json.loads(run("keys", "sign", stick, "--key", one, "--key", two, "--json").stdout)
    assert told == {"state": "pending", "path": str(stick)}
    stick.rename(tmp_path / "keys/root.2.json.pending")
    assert run("keys", "sign", "keys/root.2.json.pending").exit_code == 0
    assert follow(tmp_path / "keys", start).number == 2


def test_only_one_change_waits_at_a_time(run: Run, begin: Begin, tmp_path: Path) -> None:
    """While a root waits for signatures no other is begun: one of the two would be lost."""
    begin()
    take_away(tmp_path, "root", "root-2")
    run("keys", "renew", "keys")
    before = snapshot(tmp_path / "keys")
    result = run("keys", "add", "keys", "package")
    assert result.exit_code == 1
    assert result.stderr.startswith("graywave: keys/root.2.json.pending waits for signatures: ")
    assert snapshot(tmp_path / "keys") == before


def test_one_key_does_not_sign_for_two(run: Run, begin: Begin, tmp_path: Path) -> None:
    """The same key twice is one signature."""
    begin()
    one, *_ = take_away(tmp_path, "root", "root-2", "root-3")
    run("keys", "renew", "keys")
    told = json.loads(run("keys", "sign", "keys/root.2.json.pending", "--key", one, "--key", one, "--json").stdout)
    assert (told["state"], told["missing"]) == ("pending", {"before": 1, "own": 1})


def test_stranger_signs_no_root(run: Run, begin: Begin, tmp_path: Path) -> None:
    """A key that has no say in a root is refused, wherever it is tried."""
    begin()
    take_away(tmp_path, "root", "root-2", "root-3")
    run("keys", "renew", "keys")
    pending = tmp_path / "keys/root.2.json.pending"
    before = pending.read_bytes()
    result = run("keys", "sign", pending, "--key", "keys/offer.key")
    assert result.exit_code == 3
    assert result.stderr.startswith("graywave: expected a root key, got ")
    (tmp_path / "stick").mkdir()
    result = run("keys", "sign", pending.rename(tmp_path / "stick/it"), "--key", "keys/offer.key")
    assert result.exit_code == 3
    assert "the root before it is not beside it" in result.stderr
    assert (tmp_path / "stick/it").read_bytes() == before


def test_forged_pending_root_is_not_put_in_its_place(run: Run, begin: Begin, tmp_path: Path) -> None:
    """A root that somebody has made up and signed with a key of the old root is refused where it lacks the other."""
    begin()
    make_keys(tmp_path / "evil", "demo", int(time.time()) + 86_400)
    assert run("keys", "renew", "evil").exit_code == 0
    pending = tmp_path / "keys/root.2.json.pending"
    pending.write_bytes((tmp_path / "evil/root.2.json").read_bytes())
    told = json.loads(run("keys", "sign", pending, "--key", "keys/root.key", "--json").stdout)
    assert (told["state"], told["missing"]) == ("pending", {"before": 1, "own": 0})
    assert read_current(tmp_path / "keys").number == 1


@pytest.mark.parametrize("content", ["", "{}", "[]"])
def test_pending_that_is_no_root_is_refused(run: Run, begin: Begin, tmp_path: Path, content: str) -> None:
    """What is no root document is not signed."""
    begin()
    (tmp_path / "it").write_text(content)
    result = run("keys", "sign", "it", "--key", "keys/root.key")
    assert result.exit_code == 5
    assert result.stderr.startswith("graywave: it: expected a root document")


# Tokens.


def test_a_workspace_whose_root_key_is_in_a_token(run: Run, begin: Begin, tmp_path: Path) -> None:
    """A token's key is named by its public half, becomes a root key, and signs the next root from where it is."""
    token: SoftToken = start_token()
    start = begin(counts={}, thresholds={})
    (tmp_path / "hsm.json").write_text(run("keys", "public", token.name("ec")).stdout)
    assert run("keys", "add", "keys", "root", "--key", "hsm.json").exit_code == 0
    assert run("keys", "threshold", "keys", "root", "2").exit_code == 0
    result = run("keys", "renew", "keys", "--root-key", "keys/root.key", "--root-key", token.name("ec"))
    assert result.exit_code == 1
    assert "keys/root.3.json.pending waits for signatures" in result.stderr
    assert run("keys", "sign", "keys/root.3.json.pending", "--key", token.name("ec")).exit_code == 0
    assert run("keys", "renew", "keys", "--root-key", "keys/root.key", "--root-key", token.name("ec")).exit_code == 0
    root = follow(tmp_path / "keys", start)
    assert (root.number, root.role("root").threshold) == (4, 2)
    assert "ES256" in {key.algorithm for key in root.keys("root").values()}


def test_no_command_shows_a_private_part(run: Run, begin: Begin, tmp_path: Path) -> None:
    """Whatever is printed and whatever is public, no private part is in it."""
    begin()
    outputs = [
        run("keys", "new", "other", "--workspace", "demo", "--json"),
        run("keys", "add", "keys", "offer"),
        run("keys", "show", "keys", "--json"),
        run("keys", "public", "keys/offer-2.key"),
        run("keys", "public", (tmp_path / "keys/offer.key").read_text()),
    ]
    files = [path for folder in ("keys", "other") for path in (tmp_path / folder).iterdir()]
    secrets = [json.loads(path.read_bytes())["d"] for path in files if path.suffix == ".key"]
    shown = "".join(result.output for result in outputs)
    shown += "".join(path.read_text() for path in files if path.suffix == ".json")
    assert len(secrets) == 11
    assert not [secret for secret in secrets if secret in shown]


# A second packager.


@pytest.fixture
def packed(run: Run, begin: Begin, tmp_path: Path) -> Path:
    """A folder that `graywave pack` has written."""
    begin()
    (tmp_path / "source").mkdir()
    (tmp_path / "source/index.html").write_text("hello")
    options = ["--program", "2021000000000001", "--version", "1.0", "--keys", "keys", "--out", "packed"]
    assert run("pack", "source", *options).exit_code == 0
    return tmp_path / "packed"


def read_manifest(folder: Path) -> Any:
    return json.loads((folder / "package.json").read_bytes())


def test_cosign(run: Run, packed: Path, tmp_path: Path) -> None:
    """A second packager signs the same claim; a workspace that wants two believes it then, and not before."""
    assert run("keys", "add", "keys", "package").exit_code == 0
    assert run("keys", "threshold", "keys", "package", "2").exit_code == 0
    role = read_current(tmp_path / "keys").role("package")
    before = read_manifest(packed)
    mode = stat.S_IMODE((packed / "package.json").stat().st_mode)
    told = json.loads(run("keys", "cosign", "packed", "--key", "keys/package-2.key", "--json").stdout)
    after = read_manifest(packed)
    assert verify_package(after["package"]["signature"], role).sha256 == after["package"]["sha256"]
    claimed = {"program": "2021000000000001", "version": "1.0", "sha256": after["package"]["sha256"]}
    assert told == {"key": next(reversed(role.keys)), "packages": [claimed]}
    assert after["package"].pop("signature").startswith(before["package"].pop("signature") + " ")
    assert after == before
    assert stat.S_IMODE((packed / "package.json").stat().st_mode) == mode


def test_cosign_of_the_digest_that_one_has(run: Run, packed: Path) -> None:
    """Who has packed the same files says which digest came out, and signs nothing else."""
    digest = read_manifest(packed)["package"]["sha256"]
    result = run("keys", "cosign", "packed", "--key", "keys/root.key", "--sha256", "a" * 64)
    message = f"graywave: packed/package.json: expected a package with sha256 {'a' * 64}, got {digest}\n"
    assert (result.exit_code, result.stderr) == (5, message)
    result = run("keys", "cosign", "packed", "--key", "keys/root.key", "--sha256", digest)
    assert result.stdout.endswith(f"sha256   {digest}\n")


@pytest.mark.parametrize(
    ("member", "value"), [("sha256", "a" * 64), ("size", 1), ("permissions", {"camera": True}), ("version", "1.1")]
)
def test_cosign_of_something_else_is_refused(run: Run, packed: Path, member: str, value: Any) -> None:
    """A folder that says another thing than its first signature is not signed."""
    manifest = read_manifest(packed)
    (manifest if member == "version" else manifest["package"])[member] = value
    (packed / "package.json").write_text(json.dumps(manifest))
    result = run("keys", "cosign", "packed", "--key", "keys/root.key")
    message = "graywave: packed/package.json: expected a signature of what it says, got one of something else\n"
    assert (result.exit_code, result.stderr) == (5, message)
    assert read_manifest(packed) == manifest


@pytest.mark.parametrize("signature", [["x"], {}, 7, None])
def test_cosign_of_what_is_no_text_is_refused(run: Run, packed: Path, signature: object) -> None:
    """A stranger's package.json may have anything for a signature."""
    manifest = read_manifest(packed)
    manifest["package"]["signature"] = signature
    (packed / "package.json").write_text(json.dumps(manifest))
    result = run("keys", "cosign", "packed", "--key", "keys/root.key")
    assert result.exit_code == 1
    assert result.stderr.startswith("graywave: cannot sign packed/package.json: ")


def test_cosign_twice_is_refused(run: Run, packed: Path) -> None:
    """The first packager's second signature would not count."""
    result = run("keys", "cosign", packed, "--key", "keys/package.key")
    assert result.exit_code == 1
    assert "expected a key that has not signed yet, got " in result.stderr


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"package":7}', '{"package":{"signature":"x"}}'])
def test_cosign_of_no_package_is_refused(run: Run, begin: Begin, tmp_path: Path, content: str) -> None:
    """A folder without a package is named."""
    begin()
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed/package.json").write_text(content)
    result = run("keys", "cosign", "packed", "--key", "keys/package.key")
    assert result.exit_code == 1
    assert result.stderr.startswith("graywave: cannot sign packed/package.json: ")


def test_cosign_keeps_to_what_a_document_takes(run: Run, packed: Path, tmp_path: Path) -> None:
    """Signatures that no document would take are not added: RSA's are long, and each has the whole claim."""
    manifest = read_manifest(packed)
    for _ in range(10):
        (tmp_path / "more.key").touch(mode=0o600)
        (tmp_path / "more.key").write_bytes(PrivateKey.generate("RS256").to_json())
        result = run("keys", "cosign", "packed", "--key", "more.key")
        if result.exit_code:
            break
        manifest = read_manifest(packed)
    assert "expected signatures of at most 8192 characters, got " in result.stderr
    assert read_manifest(packed) == manifest


def test_cosign_of_a_document(run: Run, packed: Path, tmp_path: Path) -> None:
    """Where a package key was replaced, the named packages of a document are signed with the new one."""
    manifest = read_manifest(packed)
    package = {name: value for name, value in manifest["package"].items() if name != "permissions"}
    packages = {"1.0": package, "0.9": {**package, "signature": "of.another.one"}}
    document = {"format": 1, "program": manifest["program"], "packages": packages, "releases": []}
    (tmp_path / "program.json").write_text(json.dumps(document))
    assert run("keys", "rotate", "keys", "package").exit_code == 0
    role = read_current(tmp_path / "keys").role("package")
    result = run("keys", "cosign", "program.json", "--key", "keys/package-2.key")
    message = "graywave: say which packages of the document to sign, with --version: 1.0, 0.9\n"
    assert (result.exit_code, result.stderr) == (2, message)
    result = run("keys", "cosign", "program.json", "--key", "keys/package-2.key", "--version", "2.0")
    assert (result.exit_code, result.stderr) == (2, "graywave: the document has no package '2.0'\n")
    assert run("keys", "cosign", "program.json", "--key", "keys/package-2.key", "--version", "1.0").exit_code == 0
    signed = json.loads((tmp_path / "program.json").read_text())
    assert verify_package(signed["packages"]["1.0"].pop("signature"), role).version == "1.0"
    document["packages"]["1.0"].pop("signature")
    assert signed == document


def test_a_successor_is_believed_by_who_knows_the_first(run: Run, begin: Begin, tmp_path: Path) -> None:
    """Each root that a command makes follows the one before it."""
    root = begin()
    for command in (["add", "keys", "offer"], ["reset-epoch", "keys"], ["threshold", "keys", "offer", "2"]):
        assert run("keys", *command).exit_code == 0
        root = read_successor((tmp_path / f"keys/root.{root.number + 1}.json").read_bytes(), root, int(time.time()))
    assert (root.epoch, root.role("offer")) == (2, Role(2, root.keys("offer")))


def test_the_pages_commands(run: Run, tmp_path: Path) -> None:
    """Every command in docs/keys.md that needs no server works, one after the other, and leads to a chain of roots."""
    blocks = read_blocks((ROOT / "docs/keys.md").read_text("utf-8"))
    lines = [line.split() for block in blocks if block.language == "sh" for line in block.text.splitlines() if line]
    for words in lines:
        command, _, target = " ".join(words).partition(" > ")
        result = run(*command.split()[1:])
        assert (result.exit_code, result.stderr) == (0, ""), command
        if target:
            (tmp_path / target).write_text(result.stdout)
    root = follow(tmp_path / "keys", read_root((tmp_path / "keys/root.1.json").read_bytes()))
    assert len(lines) == 13
    assert (root.number, root.epoch, root.role("package").threshold) == (9, 3, 2)
