"""client.json: believed when the root keys of the last of its roots have signed it, and each root follows another."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from container import Config, ConfigError, load_config, read_config
from container.config import MAX_CONFIG_BYTES, MAX_ROOTS
from trust import ROLES, ClientClaim, ClientDefaults, PrivateKey, make_root, sign_client

KEYS = {name: PrivateKey.generate() for name in ROLES}
NEXT = {name: PrivateKey.generate() for name in ROLES}
STRANGER = PrivateKey.generate()
PROGRAM = "2021000000000001"
NOW = 1_794_000_000


def root(number: int = 1, workspace: str = "demo", **given: Any) -> bytes:
    """Returns a root document: number 1 of KEYS, any later one of NEXT, signed by both."""
    keys, signers = (KEYS, [KEYS["root"]]) if number == 1 else (NEXT, [KEYS["root"], NEXT["root"]])
    roles = {name: [key.public] for name, key in keys.items()}
    return make_root(workspace, number, NOW, roles, given.pop("signers", signers), **given)


def claim(**changes: Any) -> ClientClaim:
    return ClientClaim(**{"workspace": "demo", "issued": NOW, "edges": ("http://127.0.0.1:8080",), **changes})


def config_json(*roots: bytes, key: PrivateKey = KEYS["root"], **changes: Any) -> bytes:
    documents = [json.loads(document) for document in roots or (root(),)]
    form = {"format": 1, "roots": documents, "client": sign_client(claim(), key)}
    return json.dumps({**form, **changes}).encode()


def refusal(data: bytes) -> str:
    with pytest.raises(ConfigError) as caught:
        read_config(data)
    return str(caught.value)


def test_config_is_read(tmp_path: Path) -> None:
    """A file gives all that its claim says, addresses without their last slash, and the pinned root."""
    told = claim(
        edges=("https://e.test/base/", "http://[::1]:80"), domain="apps.test",
        defaults=ClientDefaults(poll_after=60, programs=(PROGRAM,)),
    )  # fmt: skip
    (tmp_path / "client.json").write_bytes(config_json(client=sign_client(told, KEYS["root"])))
    config = load_config(tmp_path / "client.json")
    assert isinstance(config, Config)
    assert (config.workspace, config.issued, config.domain) == ("demo", NOW, "apps.test")
    assert config.edges == ("https://e.test/base", "http://[::1]:80")
    assert (config.defaults.poll_after, config.defaults.programs) == (60, (PROGRAM,))
    assert (config.root.workspace, config.root.number) == ("demo", 1)


def test_defaults_may_be_absent() -> None:
    """Without defaults nothing is asked about by itself, and an edge is asked every half hour."""
    config = read_config(config_json())
    assert (config.defaults.poll_after, config.defaults.programs, config.domain) == (1800, (), "")


def test_origin_of_a_program() -> None:
    """A program has an origin of its own under the domain; none without a domain."""
    config = read_config(config_json(client=sign_client(claim(domain="apps.test"), KEYS["root"])))
    assert config.origin(PROGRAM) == f"https://{PROGRAM}.apps.test"
    assert read_config(config_json()).origin(PROGRAM) == ""


@pytest.mark.parametrize("workspace", ["demo", "a", "wallet-prod", "9.._"])
def test_each_workspace_has_a_folder(workspace: str) -> None:
    """The folder of an environment is its workspace's name, which leads nowhere else."""
    told = sign_client(claim(workspace=workspace), KEYS["root"])
    config = read_config(config_json(root(workspace=workspace), client=told))
    assert config.folder_name == workspace
    assert (Path("programs") / config.folder_name).parent == Path("programs")


def test_chain_is_followed() -> None:
    """Roots behind the first are its successors; the last one's keys sign, and all documents are kept."""
    config = read_config(config_json(root(), root(2), key=NEXT["root"], client=sign_client(claim(), NEXT["root"])))
    assert config.root.number == 2
    assert [json.loads(document) for document in config.roots] == [json.loads(root()), json.loads(root(2))]


def test_former_keys_do_not_sign() -> None:
    """Once a root has followed, the root keys before it sign no configuration."""
    assert refusal(config_json(root(), root(2))).startswith(
        "client: expected the kid of a known key in the token's header"
    )


@pytest.mark.parametrize("role", ["package", "offer", "channel", "stranger"])
def test_only_root_keys_sign(role: str) -> None:
    """No other key, of the workspace or not, may say where edges are."""
    token = sign_client(claim(), {**KEYS, "stranger": STRANGER}[role])
    assert refusal(config_json(client=token)).startswith(
        "client: expected the kid of a known key in the token's header"
    )


def test_threshold_of_root_keys() -> None:
    """Where the root wants two root keys, one of them does not do."""
    keys = {**{name: [key.public] for name, key in KEYS.items()}, "root": [KEYS["root"].public, NEXT["root"].public]}
    both = [KEYS["root"], NEXT["root"]]
    document = make_root("demo", 1, NOW, keys, both, thresholds={"root": 2})
    assert refusal(config_json(document)).startswith("client: expected signatures of 2 keys of the role, got 1")
    assert read_config(config_json(document, client=sign_client(claim(), *both))).workspace == "demo"


def test_expired_root_is_read() -> None:
    """Whether the shipped root has expired is not asked here: the container may know a newer one."""
    assert read_config(config_json()).root.expires == NOW


def without(data: bytes, name: str) -> bytes:
    members = json.loads(data)
    del members[name]
    return json.dumps(members).encode()


WHERE = "expected a client configuration: "


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", WHERE + "Input data was truncated"),
        (b"\xff", WHERE + "JSON is malformed"),
        (b"[" * 100_000, WHERE),
        (b"[]", WHERE + "Expected `object`, got `array`"),
        (config_json(extra=1), WHERE + "Object contains unknown field `extra`"),
        (config_json(format=2), WHERE + "Invalid enum value 2 - at `$.format`"),
        (without(config_json(), "format"), WHERE + "Object missing required field `format`"),
        (without(config_json(), "client"), WHERE + "Object missing required field `client`"),
        (config_json(roots=[]), WHERE + "Expected `array` of length >= 1 - at `$.roots`"),
        (config_json(roots=[{}] * (MAX_ROOTS + 1)), WHERE + f"Expected `array` of length <= {MAX_ROOTS}"),
        (config_json(roots=[{}]), "roots: expected a root document: Object missing required field `payload`"),
        (
            config_json(roots=[{**json.loads(root()), "signatures": []}]),
            "roots: expected signatures of 1 of its root keys, got 0",
        ),
        (config_json(root(), root(3)), "roots: expected root 2 to follow root 1, got root 3"),
        (config_json(root(), root()), "roots: expected root 2 to follow root 1, got root 1"),
        (config_json(root(), root(2, "other")), "roots: expected a root of workspace 'demo', got one of 'other'"),
        (
            config_json(root(), root(2, signers=[NEXT["root"]])),
            "roots: expected signatures of 1 of the root keys of root 1, got 0",
        ),
        (config_json(root(epoch=2), root(2)), "roots: expected an epoch of at least 2, got 1"),
        (config_json(root(workspace="other")), "client: expected workspace 'other' as in the roots, got 'demo'"),
        (config_json(client=""), "client: expected 1 to 16 signatures in a token, got 0"),
        (config_json(client="e30.e30.AA"), "client: "),
        (b" " * (MAX_CONFIG_BYTES + 1), f"expected a client configuration of at most {MAX_CONFIG_BYTES} bytes, got"),
    ],
)  # fmt: skip
def test_bad_config_is_refused(data: bytes, message: str) -> None:
    """What is wrong is named."""
    assert refusal(data).startswith(message)


def test_unsigned_form_is_named() -> None:
    """The form of earlier versions, which nobody has signed, is refused with what to do."""
    old = {"workspace": "demo", "edges": ["http://e.test"], "root": json.loads(root())}
    assert refusal(json.dumps(old).encode()) == (
        "expected a signed client configuration, got the older form that nobody has signed: "
        "make a new one with graywave client --keys DIR --edge URL --out FILE"
    )


@given(at=st.integers(0, len(config_json()) - 1), bit=st.integers(0, 7))
def test_no_byte_can_be_changed(at: int, bit: int) -> None:
    """A configuration with any one bit changed is refused, or says the very same."""
    good = config_json()
    data = bytearray(good)
    data[at] ^= 1 << bit
    try:
        config = read_config(bytes(data))
    except ConfigError:
        return
    wanted = read_config(good)
    assert (config.workspace, config.edges, config.issued) == (wanted.workspace, wanted.edges, wanted.issued)


def test_file_is_named(tmp_path: Path) -> None:
    """A file that is absent or bad is named in the error."""
    path = tmp_path / "client.json"
    with pytest.raises(ConfigError, match=f"{path}: expected a file that can be read: No such file or directory"):
        load_config(path)
    path.write_text("{")
    with pytest.raises(ConfigError, match=f"{path}: expected a client configuration: "):
        load_config(path)


def test_endless_file_is_not_read_whole() -> None:
    """A file without an end is read no further than a configuration may be."""
    with pytest.raises(ConfigError, match="of at most 1048576 bytes, got more"):
        load_config(Path("/dev/zero"))
