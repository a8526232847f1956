"""Tests of edge/settings.py."""

from pathlib import Path

import pytest

from edge.settings import MAX_WORKERS, EdgeSettings, find_data, freeze_settings, read_settings, thaw_settings
from settings import SettingsError

NEEDED = {
    "GRAYWAVE_EDGE_REDIS": "redis://:secret-word@redis.example/0",
    "GRAYWAVE_EDGE_WORKSPACES": "demo=/etc/demo.json, shop=/etc/shop.json",
    "GRAYWAVE_EDGE_DATA": "/var/lib/graywave",
}


def test_needed_settings_alone_do() -> None:
    """Three settings have no default; what the others are by default can be relied on."""
    settings = read_settings(None, NEEDED)
    assert settings.workspaces == {"demo": Path("/etc/demo.json"), "shop": Path("/etc/shop.json")}
    assert (settings.listen, settings.admin, settings.lane, settings.store) == (
        "0.0.0.0:8080",
        "127.0.0.1:8081",
        True,
        None,
    )
    assert settings.workers >= 1
    assert settings.fingerprint_keys == {}
    assert settings.drain_delay_s == 0


def test_file_and_environment_meet(tmp_path: Path) -> None:
    """What stands in the file is read, and the environment wins."""
    toml = tmp_path / "edge.toml"
    toml.write_text(
        '[edge]\nredis = "redis://a"\ndata = "data"\nworkers = 3\nlane = false\nworkspaces = { demo = "root.json" }\n',
        "utf-8",
    )
    settings = read_settings(toml, {"GRAYWAVE_EDGE_WORKERS": "4", "GRAYWAVE_EDGE_FINGERPRINT_KEYS": "k1=/k/1"})
    assert (settings.workers, settings.lane) == (4, False)
    assert settings.fingerprint_keys == {"k1": Path("/k/1")}
    assert settings.data == tmp_path / "data"
    assert settings.workspaces == {"demo": tmp_path / "root.json"}


@pytest.mark.parametrize("base", ["https://cdn.example", "http://10.0.0.1:8080", "https://cdn.example/graywave"])
def test_base_of_files(base: str) -> None:
    """An address to which `/v1/files/…` is added."""
    assert read_settings(None, {**NEEDED, "GRAYWAVE_EDGE_FILES": base}).files == base


@pytest.mark.parametrize(
    "base", ["cdn.example", "https://cdn.example/", "ftp://a", "https://a?b", "https://u@a", "https://"]
)
def test_what_is_no_base_of_files(base: str) -> None:
    """It is named before anything starts."""
    with pytest.raises(
        SettingsError, match=r"expected files like https://cdn.example, without a slash at the end, got"
    ):
        read_settings(None, {**NEEDED, "GRAYWAVE_EDGE_FILES": base})


def test_origins_of_pages() -> None:
    """Several may be named; what no browser sends is named before anything starts."""
    origins = "https://app.example, http://localhost:8000"
    settings = read_settings(None, {**NEEDED, "GRAYWAVE_EDGE_CORS_ORIGINS": origins})
    assert settings.cors_origins == ("https://app.example", "http://localhost:8000")
    with pytest.raises(SettingsError, match=r"expected an origin like https://app\.example.*got 'app\.example'"):
        read_settings(None, {**NEEDED, "GRAYWAVE_EDGE_CORS_ORIGINS": "*,app.example"})


def test_nothing_is_set() -> None:
    """What is required is named all at once; without a Redis address nothing starts."""
    with pytest.raises(SettingsError) as caught:
        read_settings(None, {})
    assert [problem.partition(":")[0] for problem in caught.value.problems] == list(NEEDED)


@pytest.mark.parametrize("workers", ["0", str(MAX_WORKERS + 1)])
def test_workers_are_bounded(workers: str) -> None:
    """A number of workers beyond the bounds is refused, and the bounds are named."""
    with pytest.raises(SettingsError, match=f"expected an integer from 1 to {MAX_WORKERS}, got {workers}|'{workers}'"):
        read_settings(None, {**NEEDED, "GRAYWAVE_EDGE_WORKERS": workers})


def test_most_workers_are_allowed() -> None:
    """The highest number of workers is one that may be set."""
    assert read_settings(None, {**NEEDED, "GRAYWAVE_EDGE_WORKERS": str(MAX_WORKERS)}).workers == MAX_WORKERS


def test_what_types_do_not_show_is_named_together() -> None:
    """Addresses and names that are none are all named, and a password is not shown."""
    wrong = {
        "GRAYWAVE_EDGE_LISTEN": "8080",
        "GRAYWAVE_EDGE_ADMIN": "localhost:70000",
        "GRAYWAVE_EDGE_WORKSPACES": "Demo=/etc/demo.json",
        "GRAYWAVE_EDGE_REDIS": "http://:secret-word@redis.example",
    }
    with pytest.raises(SettingsError) as caught:
        read_settings(None, {**NEEDED, **wrong})
    (problem,) = caught.value.problems
    assert problem.split("; ") == [
        "edge: expected an address like 127.0.0.1:8080, got '8080'",
        "expected an address like 127.0.0.1:8080, got 'localhost:70000'",
        "expected a workspace of 1 to 63 lower-case letters, digits and hyphens, the first no hyphen, got 'Demo'",
        (
            "expected a redis address redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://, got one with"
            " scheme 'http'"
        ),
    ]


def test_no_workspace() -> None:
    """An edge without a workspace answers nobody, and does not start."""
    with pytest.raises(SettingsError, match="expected at least one workspace, got none"):
        read_settings(None, {**NEEDED, "GRAYWAVE_EDGE_WORKSPACES": ""})


def test_redis_without_address() -> None:
    """An address that a mistyped variable left empty is no address."""
    with pytest.raises(SettingsError, match="got one with no scheme"):
        read_settings(None, {**NEEDED, "GRAYWAVE_EDGE_REDIS": ""})


def test_password_is_not_shown() -> None:
    """Settings in a log show no password."""
    assert "secret-word" not in repr(read_settings(None, NEEDED))


def test_settings_are_checked_however_made() -> None:
    """Settings that no file holds are checked too."""
    with pytest.raises(ValueError, match="expected an address"):
        EdgeSettings(redis="redis://a", workspaces={"demo": Path("a")}, data=Path("b"), listen="nowhere")


PROVING = {
    "GRAYWAVE_EDGE_PROOF_KEYS": "demo=/etc/demo.jwks",
    "GRAYWAVE_EDGE_PROOF_ISSUERS": "demo=https://bank.example",
    "GRAYWAVE_EDGE_PROOF_AUDIENCES": "demo=graywave",
}


def test_proof_of_users() -> None:
    """Keys, issuer and audience are set for each workspace whose users have to be proven."""
    settings = read_settings(None, {**NEEDED, **PROVING})
    assert settings.proof_keys == {"demo": Path("/etc/demo.jwks")}
    assert (settings.proof_issuers, settings.proof_audiences) == (
        {"demo": "https://bank.example"},
        {"demo": "graywave"},
    )


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("KEYS", "news=/etc/a", "expected proof_keys of workspaces that are served, got 'news'"),
        ("KEYS", "", "expected proof_issuers for the workspaces of proof_keys, none, got demo"),
        ("ISSUERS", "", "expected proof_issuers for the workspaces of proof_keys, demo, got none"),
        ("ISSUERS", "demo=", "expected proof_issuers for the workspaces of proof_keys, demo, got demo"),
        ("AUDIENCES", "shop=graywave", "expected proof_audiences for the workspaces of proof_keys, demo, got shop"),
    ],
)
def test_half_a_proof(name: str, value: str, message: str) -> None:
    """Keys without issuer or audience would take tokens that were made for others: refused, and so is the reverse."""
    with pytest.raises(SettingsError, match=message):
        read_settings(None, {**NEEDED, **PROVING, f"GRAYWAVE_EDGE_PROOF_{name}": value})


def test_places() -> None:
    """Proxies, their headers and a database are set together or apart."""
    given = {"TRUSTED_PROXIES": "10.0.0.0/8, fd00::1", "PLACE_HEADERS": "country=CF-IPCountry", "PLACE_DATABASE": "/a"}
    settings = read_settings(None, NEEDED | {f"GRAYWAVE_EDGE_{name}": value for name, value in given.items()})
    assert settings.trusted_proxies == ("10.0.0.0/8", "fd00::1")
    assert (settings.place_headers, settings.place_database) == ({"country": "CF-IPCountry"}, Path("/a"))


@pytest.mark.parametrize(
    ("proxies", "headers", "message"),
    [
        ("10.0.0.1/8", "", "expected a network like 10.0.0.0/8, got '10.0.0.1/8'"),
        ("10.0.0.0/8", "town=X", "expected place_headers for country, region, city, got 'town'"),
        ("10.0.0.0/8", "city=X Y", "expected a header's name for city in place_headers, got 'X Y'"),
        ("10.0.0.0/8", "city=", "expected a header's name for city in place_headers, got ''"),
        ("", "city=X-City", "expected trusted_proxies where there are place_headers"),
    ],
)
def test_places_that_nobody_can_tell(proxies: str, headers: str, message: str) -> None:
    """Networks, members and headers that are none are refused, and headers that nobody may send."""
    given = {"GRAYWAVE_EDGE_TRUSTED_PROXIES": proxies, "GRAYWAVE_EDGE_PLACE_HEADERS": headers}
    with pytest.raises(SettingsError, match=message):
        read_settings(None, NEEDED | given)


def test_settings_are_thawed_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Children get exactly what was read, wherever they run; the secret still shows as *** there."""
    toml = tmp_path / "edge.toml"
    toml.write_text('[edge]\nstore = "s"\nadmin_token_file = "/t"\n[edge.proof_keys]\ndemo = "keys.json"\n', "utf-8")
    proof = {f"GRAYWAVE_EDGE_PROOF_{name}": "demo=x" for name in ("ISSUERS", "AUDIENCES")}
    settings = read_settings(toml, {**NEEDED, **proof, "GRAYWAVE_EDGE_DRAIN_DELAY_S": "2.5"})
    thawed = thaw_settings(freeze_settings(settings))
    assert thawed == settings
    assert repr(thawed.redis) == "'***'"
    monkeypatch.chdir(tmp_path)
    relative = read_settings(
        None, {**NEEDED, "GRAYWAVE_EDGE_DATA": "data", "GRAYWAVE_EDGE_WORKSPACES": "demo=root.json"}
    )
    monkeypatch.chdir("/")
    thawed = thaw_settings(freeze_settings(relative))
    assert (thawed.data, thawed.workspaces) == (Path("/data"), {"demo": Path("/root.json")})


def test_data_folder_is_found_among_wrong_settings(tmp_path: Path) -> None:
    """An operator whose new settings are wrong has to reach the edge that runs by the old ones."""
    toml = tmp_path / "edge.toml"
    toml.write_text('[edge]\ndata = "data"\nworkers = "many"\n', "utf-8")
    assert find_data(toml, {"GRAYWAVE_EDGE_LANE": "perhaps"}) == tmp_path / "data"
    assert find_data(toml, {"GRAYWAVE_EDGE_DATA": "/d"}) == Path("/d")
    for text in ("[edge]\n", "edge = 3\n", "[edge]\ndata = 3\n", "nonsense"):
        toml.write_text(text, "utf-8")
        assert find_data(toml, {}) is None
    assert find_data(None, {}) is None
    assert find_data(tmp_path / "nowhere", {}) is None


@pytest.mark.parametrize("name", ["workspace_rates", "workspace_connections"])
def test_limits_are_of_workspaces_that_are_served(name: str) -> None:
    """A misspelt name would be no limit; processes hand limits to each other."""
    variable = f"GRAYWAVE_EDGE_{name.upper()}"
    settings = thaw_settings(freeze_settings(read_settings(None, {**NEEDED, variable: "demo=5"})))
    assert getattr(settings, name) == {"demo": 5}
    with pytest.raises(SettingsError, match=f"expected {name} of workspaces that are served, got 'dmeo'"):
        read_settings(None, {**NEEDED, variable: "dmeo=5"})
