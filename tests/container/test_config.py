"""client.json: believed when its root is signed and its addresses are some."""

import json
from pathlib import Path
from typing import Any

import pytest

from container import Config, ConfigError, load_config, read_config
from container.config import MAX_CONFIG_BYTES
from tests.container.world import make_root_document

ROOT = json.loads(make_root_document())


def config_json(**changes: Any) -> bytes:
    return json.dumps({"workspace": "demo", "edges": ["http://127.0.0.1:8080/"], "root": ROOT, **changes}).encode()


def refusal(data: bytes) -> str:
    with pytest.raises(ConfigError) as caught:
        read_config(data)
    return str(caught.value)


def test_config_is_read(tmp_path: Path) -> None:
    """A file gives workspace, addresses without their last slash, and the pinned root."""
    (tmp_path / "client.json").write_bytes(config_json(edges=["https://e.test/base/", "http://[::1]:80"]))
    config = load_config(tmp_path / "client.json")
    assert isinstance(config, Config)
    assert (config.workspace, config.edges) == ("demo", ("https://e.test/base", "http://[::1]:80"))
    assert config.root.workspace == "demo"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", "expected a client configuration: Input data was truncated"),
        (b"\xff", "expected a client configuration: JSON is malformed"),
        (b"[]", "expected a client configuration: Expected `object`, got `array`"),
        (config_json(edges=[]), "expected a client configuration: Expected `array` of length >= 1 - at `$.edges`"),
        (
            config_json(edges=["http://e.test"] * 17),
            "expected a client configuration: Expected `array` of length <= 16",
        ),
        (config_json(extra=1), "expected a client configuration: Object contains unknown field `extra`"),
        (config_json(root={}), "root: expected a root document: Object missing required field `payload`"),
        (config_json(root={**ROOT, "signatures": []}), "root: expected signatures of 1 of its root keys, got 0"),
        (config_json(workspace="other"), "root: expected one of workspace 'other', got one of 'demo'"),
        (b" " * (MAX_CONFIG_BYTES + 1), f"expected at most {MAX_CONFIG_BYTES} bytes, got {MAX_CONFIG_BYTES + 1}"),
    ],
)
def test_bad_config_is_refused(data: bytes, message: str) -> None:
    """What is wrong is named."""
    assert refusal(data).startswith(message)


@pytest.mark.parametrize(
    "address",
    ["", "edge.test", "ftp://edge.test", "http://", "http://e.test?x=1", "http://e.test#x", "http://e.test:99999",
     "http://[bad", "http://e.test:0", "http://\u00e9.test", "http://e.test/" + "x" * 2048],
)  # fmt: skip
def test_address_is_http(address: str) -> None:
    """An address is a scheme, a host, a port and a path, and short."""
    assert (
        refusal(config_json(edges=[address])) == f"edges: expected http(s)://host[:port][/path], got {address[:200]!r}"
    )


def test_file_is_named(tmp_path: Path) -> None:
    """A file that is absent or bad is named in the error."""
    path = tmp_path / "client.json"
    with pytest.raises(ConfigError, match=f"{path}: expected a file that can be read: No such file or directory"):
        load_config(path)
    path.write_text("{")
    with pytest.raises(ConfigError, match=f"{path}: expected a client configuration: "):
        load_config(path)
