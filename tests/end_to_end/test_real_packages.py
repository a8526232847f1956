"""Real packages the whole way: packed, published, and updated from the older to the newer version, byte for byte.

Each step is the one that a user takes: the `graywave` command on one side, the container SDK on the other, and real
processes in between.
"""

import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.main import main
from container import Container, Device, Outcome, load_config
from tests.cli.running import Running
from tests.end_to_end.town import ROOT, eventually

TARBALLS = ROOT.parent / "shared/data/packages"
DEMOS = ROOT / "config/demo"
PROJECTS = {
    "lodash": ("4.17.20", "4.17.21"),
    "tarojs-components": ("3.6.20", "3.6.21"),
    "vant-weapp": ("1.11.4", "1.11.5"),
    "vue": ("3.4.0", "3.4.1"),
}
# The real ones are tried at a quick level: what is compared does not hang on it.
LEVEL = "3"

Files = dict[str, bytes]


def read_folder(folder: Path) -> Files:
    """The files of a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def read_tarball(path: Path) -> Files:
    """The files of a .tgz, as Python's own reader has them."""
    with tarfile.open(path) as archive:
        members = {member.name: archive.extractfile(member) for member in archive if member.isfile()}
        return {name: file.read() for name, file in members.items() if file}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A private Redis, a publisher, and an edge with two workers."""
    with Running(tmp_path_factory.mktemp("real"), ["--no-demo"], {"GRAYWAVE_EDGE_WORKERS": "2"}) as running:
        yield running.wait_ready()


class Line:
    """The way of one program from its sources to a device."""

    def __init__(self, running: Running, program: str, folder: Path) -> None:
        self._data, self._program, self._folder = str(running.data), program, folder
        config = load_config(running.data / "client.json")
        self.device = Container(config, folder / "phone", Device("d-1", "android"))

    def _run(self, *arguments: str) -> None:
        result = CliRunner().invoke(main, [*arguments, "--data", self._data])
        assert result.exit_code == 0, (result.output, result.exception)

    def release(self, source: Path, version: str) -> None:
        """Packs a source, and releases it to everybody."""
        out = str(self._folder / version)
        names = ("--program", self._program, "--version", version, "--out", out, "--level", LEVEL)
        self._run("pack", str(source), *names)
        self._run("release", out)

    def update(self) -> Outcome:
        """Updates as soon as there is something to update to; returns what became of it."""
        (outcome,) = eventually(lambda: self.device.update([self._program]))
        return outcome

    def read_active(self) -> Files:
        """The files of the active version."""
        active = self.device.active(self._program)
        assert active is not None
        return read_folder(active.folder)


def go_the_whole_way(
    line: Line, versions: tuple[str, str], find: Callable[[str], Path], read: Callable[[Path], Files]
) -> None:
    """Installs the older version of a program and updates to the newer; each has the very bytes of its source."""
    before = ""
    for version in versions:
        source = find(version)
        line.release(source, version)
        outcome = line.update()
        assert (outcome.status, outcome.before, outcome.update.version) == ("activated", before, version), outcome.error
        files = read(source)
        assert len(files) > 0
        assert line.read_active() == files
        before = version
    older, newer = (read(find(version)) for version in versions)
    assert older != newer


@pytest.mark.skipif(
    not TARBALLS.is_dir(), reason="the eight real packages are not on this machine (shared/data/packages)"
)
@pytest.mark.parametrize("project", PROJECTS)
def test_a_real_package(running: Running, tmp_path: Path, project: str) -> None:
    """A device goes from the older to the newer version of a real project, and has its very files."""
    program = f"20210000000001{list(PROJECTS).index(project):02}"
    line = Line(running, program, tmp_path)
    go_the_whole_way(line, PROJECTS[project], lambda version: TARBALLS / f"{project}-{version}.tgz", read_tarball)


@pytest.mark.parametrize(("program", "name"), [("2021000000000200", "ferry"), ("2021000000000201", "tea")])
def test_a_demo_program(running: Running, tmp_path: Path, program: str, name: str) -> None:
    """The demo programs, which every checkout has, go the same way."""
    line = Line(running, program, tmp_path)
    go_the_whole_way(line, ("1.0.0", "1.1.0"), lambda version: DEMOS / name / version, read_folder)
