"""The samples that operators start from: settings files, the image, the compose file."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from cli.main import COMMANDS
from cli.serve import SETTINGS
from edge import read_settings
from publisher import PREFIX, SECTION, Settings
from settings import describe, read
from tests.end_to_end.town import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
COMPOSE = (ROOT / "config/compose.yaml").read_text("utf-8")
IMPORT_ALL = """
import importlib, pathlib
names = [".".join(path.with_suffix("").parts) for path in sorted(pathlib.Path().glob("[a-z]*/*.py"))]
for name in names:
    # Commands say themselves what they lack, and so does a key's address that wants a token's library.
    if not name.startswith("cli.") and not name.endswith("__main__") and name != "custody.token":
        importlib.import_module(name.removesuffix(".__init__"))
print(len(names))
"""


def test_sample_of_an_edge() -> None:
    """config/edge.toml is accepted."""
    settings = read_settings(ROOT / "config/edge.toml", {})
    assert list(settings.workspaces) == ["wallet-prod"]


def test_sample_of_a_publisher() -> None:
    """config/publisher.toml is accepted."""
    assert read(Settings, SECTION, ROOT / "config/publisher.toml", {}, PREFIX).workspace == "wallet-prod"


def test_samples_are_accepted_by_the_commands(tmp_path: Path) -> None:
    """The servers take the samples by --config: they go on to what the samples name, which is not on this machine."""
    for server in SETTINGS:
        command = [sys.executable, "-m", "cli", server, "--config", str(ROOT / "config" / f"{server}.toml")]
        environ = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
        assert (done.returncode, "No such file or directory: '/etc/graywave/" in done.stderr) == (1, True), done.stderr


def read_environment(service: str) -> dict[str, str]:
    """The variables that the compose file gives a service."""
    found = re.search(rf"^  {service}:\n(.*?)(?=^  \S|^\S)", COMPOSE, re.MULTILINE | re.DOTALL)
    assert found
    return dict(re.findall(r"^      (GRAYWAVE_\w+): \"?([^\"\n]+)\"?$", found[1], re.MULTILINE))


@pytest.mark.parametrize("server", SETTINGS)
def test_compose_sets_what_there_is(server: str) -> None:
    """Each variable is a setting, and with those of the image nothing that is required is missing."""
    cls, prefix, section = SETTINGS[server]()
    given = read_environment(server)
    assert len(given) >= 3
    assert set(given) <= {prefix + row.name.upper() for row in describe(cls)}
    image = dict(re.findall(rf"({prefix}\w+)=(\S+)", DOCKERFILE))
    assert read(cls, section, None, image | given, prefix) is not None


def test_compose_starts_what_there_is() -> None:
    """It builds this project, and its commands are ours."""
    assert COMPOSE.count("build: ..\n") == 2
    assert re.findall(r'command: \["(\w+)"\]', COMPOSE) == ["publisher"]


def test_image_starts_an_edge() -> None:
    """The image starts `graywave edge` as a user of its own, and is asked for its health."""
    assert 'ENTRYPOINT ["graywave"]\nCMD ["edge"]' in DOCKERFILE
    assert "edge" in COMMANDS
    assert DOCKERFILE.index("\nUSER graywave\n") < DOCKERFILE.index("ENTRYPOINT")
    assert "HEALTHCHECK" in DOCKERFILE


@pytest.fixture
def image(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """The project as the image has it: the folders that it copies, and the libraries of its lock alone."""
    copied = re.findall(r"^COPY (\w+) /opt/graywave/app/(\w+)$", DOCKERFILE, re.MULTILINE)
    assert len(copied) >= 7
    for source, target in copied:
        shutil.copytree(ROOT / source, tmp_path / "app" / target, ignore=shutil.ignore_patterns("__pycache__"))
    lock = (ROOT / "requirements/edge.lock").read_text("utf-8")
    locked = {name.lower().replace("_", "-") for name in re.findall(r"^([\w.-]+)==", lock, re.MULTILINE)}
    hidden = [
        module
        for module, owners in importlib.metadata.packages_distributions().items()
        if not locked & {owner.lower().replace("_", "-") for owner in owners} and module.isidentifier()
    ]
    (tmp_path / "hide").mkdir()
    code = f"import sys\nfor name in {sorted(hidden)}:\n    sys.modules[name] = None\n"
    (tmp_path / "hide/sitecustomize.py").write_text(code)
    return tmp_path / "app", os.environ | {"PYTHONPATH": f"{tmp_path / 'hide'}:{tmp_path / 'app'}"}


def run_in(image: tuple[Path, dict[str, str]], *arguments: str) -> str:
    """What Python prints there; it must end well."""
    folder, environ = image
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_image_is_whole(image: tuple[Path, dict[str, str]]) -> None:
    """With the folders and libraries of the image every module of the servers can be imported."""
    assert int(run_in(image, "-c", IMPORT_ALL)) > 30


def test_image_says_what_it_can(image: tuple[Path, dict[str, str]]) -> None:
    """There the command lists what it can do, and nothing that needs what the image lacks."""
    shown = run_in(image, "-m", "cli", "--help")
    commands = ["keys", "edge", "publisher", "backup", "restore", "republish"]
    assert re.findall(r"^  (\w+) ", shown.partition("Commands:\n")[2], re.MULTILINE) == commands
    for command in commands:
        assert run_in(image, "-m", "cli", command, "--help").startswith(f"Usage: graywave {command} [OPTIONS]")


def test_image_is_not_given_more_than_it_copies() -> None:
    """The folders that the image copies are the project's packages that it needs, and files that there are."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    copied = set(re.findall(r"^COPY (\w+) /opt", DOCKERFILE, re.MULTILINE))
    assert copied <= set(project["tool"]["setuptools"]["packages"])
    assert all((ROOT / source).exists() for source in re.findall(r"^COPY ([\w./]+) ", DOCKERFILE, re.MULTILINE))
