"""Exporting packages for a host app: what is written is verified, complete, and enough to start from offline."""

import json
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec
import pytest

from cli import preset
from container import Container, Device, NetworkError, Response, Update, load_config
from container.preset import encode_preset, read_preset
from tests.cli.conftest import Run
from tests.cli.running import Running
from tests.end_to_end.town import ROOT, eventually

TEA, FERRY, SEALED = "2021000000000002", "2021000000000001", "2021000000003001"


class Nowhere:
    """No network; says what was asked for."""

    def __init__(self) -> None:
        self.urls: list[str] = []

    def fetch(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, timeout: float) -> Response:
        del method, headers, body, timeout
        self.urls.append(url)
        raise NetworkError("no network")


def test_programs_are_exported(graywave: Run) -> None:
    """The folder has what was offered, each file by its digest, and nothing else."""
    result = graywave("preset", "--programs", f"{TEA},{FERRY}", "--out", "build/preset")
    assert result.exit_code == 0
    *lines, last = result.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == [f"{TEA} 1.0.0", f"{FERRY} 1.0.0"]
    assert last == "exported build/preset"
    exported = read_preset(Path("build/preset"))
    files = {update.transfers[0].sha256 for update in exported.updates}
    assert {path.name for path in Path("build/preset").iterdir()} == {"preset.json", *files}
    assert list(Path("build").iterdir()) == [Path("build/preset")]


def test_app_starts_offline(graywave: Run, running: Running) -> None:
    """A container with the exported folder and no network has the programs."""
    graywave("preset", "--programs", TEA, "--out", "shipped")
    network = Nowhere()
    container = Container(
        load_config(running.data / "client.json"), Path("phone"), Device("d", "android"), fetcher=network,
        preset=Path("shipped"),
    )  # fmt: skip
    active = container.open(TEA)
    assert active.version == "1.0.0"
    page = (ROOT / "config/demo/tea/1.0.0/index.html").read_bytes()
    assert (active.folder / "index.html").read_bytes() == page
    assert network.urls == []


def test_only_its_owner_reads_it(graywave: Run) -> None:
    """Keys of sealed packages may be in preset.json: nobody else on the build host reads it."""
    graywave("preset", "--programs", TEA, "--out", "shipped")
    assert stat.S_IMODE(Path("shipped/preset.json").stat().st_mode) == 0o600


def test_sealed_package_stays_sealed(graywave: Run, running: Running) -> None:
    """Of a sealed package the ciphertext is shipped, with the key that opens it; the command shows that nowhere."""
    Path("source").mkdir()
    Path("source/index.html").write_text("secret" * 100)
    packed = ("--program", SEALED, "--version", "1.0.0", "--out", "packed", "--seal", "--level", "1")
    assert graywave("pack", "source", *packed).exit_code == 0
    assert graywave("release", "packed").exit_code == 0
    eventually(lambda: json.loads(graywave("check", SEALED).stdout)["updates"])
    result = graywave("preset", "--programs", SEALED, "--out", "shipped")
    assert result.exit_code == 0, result.stderr
    (update,) = read_preset(Path("shipped")).updates
    assert update.key.startswith("AGE-SECRET-KEY-1")
    assert update.key not in result.output
    assert (Path("shipped") / update.transfers[0].sha256).read_bytes().startswith(b"age-encryption.org/v1\n")
    client = load_config(running.data / "client.json")
    container = Container(client, Path("phone"), Device("d", "android"), fetcher=Nowhere(), preset=Path("shipped"))
    assert (container.open(SEALED).folder / "index.html").read_text() == "secret" * 100


def test_json(graywave: Run) -> None:
    """A script gets what was exported."""
    told = json.loads(graywave("preset", "--programs", TEA, "--out", "shipped", "--json").stdout)
    (program,) = told["programs"]
    assert (told["folder"], program["program"], program["version"]) == ("shipped", TEA, "1.0.0")
    assert (Path("shipped") / program["sha256"]).stat().st_size == program["bytes"]


def test_facts_of_the_device_count(graywave: Run) -> None:
    """What is exported is what this device should have."""
    device = [part for fact in ("user=u-777", "os=14", "app=10.2.3", "model=MI 10") for part in ("--device", fact)]
    result = graywave("preset", "--programs", FERRY, "--out", "shipped", *device)
    assert result.stdout.startswith(f"{FERRY} 1.1.0: ")


def test_a_program_without_a_release(graywave: Run) -> None:
    """What is not offered cannot be exported: code 3, and nothing is written."""
    result = graywave("preset", "--programs", f"{TEA},2021000000000077", "--out", "shipped")
    assert result.exit_code == 3
    message = "graywave: expected an install of each program for this device, got none of 2021000000000077\n"
    assert result.stderr == message
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("programs", ["", " , "])
def test_no_program(graywave: Run, programs: str) -> None:
    """Nothing to export is a mistake."""
    result = graywave("preset", "--programs", programs, "--out", "shipped")
    assert (result.exit_code, Path("shipped").exists()) == (2, False)
    assert result.stderr == f"graywave: expected --programs ID,ID, got {programs!r}\n"


def test_a_folder_with_files(graywave: Run) -> None:
    """A folder with files in it is left alone; an empty one is used."""
    Path("shipped").mkdir()
    assert graywave("preset", "--programs", TEA, "--out", "shipped").exit_code == 0
    before = sorted(Path("shipped").iterdir())
    result = graywave("preset", "--programs", TEA, "--out", "shipped")
    assert (result.exit_code, sorted(Path("shipped").iterdir())) == (2, before)
    assert result.stderr == "graywave: expected a new or empty folder, got shipped with files in it\n"


def test_other_keys(graywave: Run, run: Run, running: Running) -> None:
    """What the app would not believe is not exported: code 5."""
    run("keys", "new", "other", "--workspace", "demo")
    run("client", "--keys", "other", "--edge", f"http://{running.edge}", "--out", "client.json")
    result = graywave("preset", "--programs", TEA, "--out", "shipped", "--config", "client.json")
    assert (result.exit_code, Path("shipped").exists()) == (5, False)


def test_nobody_there(graywave: Run, run: Run, running: Running) -> None:
    """Where no edge answers, the code is 4."""
    run("client", "--keys", running.data / "keys", "--edge", "http://127.0.0.1:1", "--out", "client.json")
    result = graywave("preset", "--programs", TEA, "--out", "shipped", "--config", "client.json")
    assert (result.exit_code, Path("shipped").exists()) == (4, False)


def test_what_does_not_start_is_not_exported(graywave: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The result is tried before it is there: one that a container cannot start from is thrown away."""

    def spoil(workspace: str, updates: Iterable[Update]) -> bytes:
        return encode_preset(workspace, [msgspec.structs.replace(update, signature="e30") for update in updates])

    monkeypatch.setattr(preset, "encode_preset", spoil)
    result = graywave("preset", "--programs", TEA, "--out", "build/preset")
    assert (result.exit_code, list(Path("build").iterdir())) == (5, [])
    wanted = "expected a container to start from the preset and client.json alone"
    assert result.stderr == f"graywave: {TEA}: {wanted}, got package_refused\n"
