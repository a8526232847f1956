"""One version up and one down, with real processes of both: the next one is this code with its numbers raised."""

import compileall
import re
import shutil
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edge.cache import FILE_NAME
from publisher import schema
from tests.end_to_end.town import PROGRAM, ROOT, Host, Server, Town, eventually, is_running, run_graywave
from tests.faults.stream import Outcome, stream

PACKAGES = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["packages"]
FORMATS = ("ruleset/model.py", "ruleset/audience.py", "ruleset/switch.py")
LAYOUT = int(re.findall(r"\d+", FILE_NAME)[0])
NEXT_FILE_NAME = f"edge-{LAYOUT + 1}.db"
QUESTION = {"workspace": "hand", "device": {"id": "d-1", "platform": "android"}, "programs": {PROGRAM: ""}}


def change(code: Path, name: str, old: str, new: str) -> None:
    """Changes what stands in a file of the code once."""
    path = code / name
    text = path.read_text("utf-8")
    assert text.count(old) == 1, (name, old)
    path.write_text(text.replace(old, new), "utf-8")


def raise_formats(code: Path) -> None:
    """Has the code know documents of one format more."""
    for name in FORMATS:
        change(code, name, "    format: Literal[1]\n", "    format: Literal[1, 2]\n")


def raise_layout(code: Path) -> None:
    """Gives edge.db another layout, hence another name."""
    change(code, "edge/cache.py", f'FILE_NAME = "{FILE_NAME}"', f'FILE_NAME = "{NEXT_FILE_NAME}"')


def raise_schema(code: Path) -> None:
    """Gives the publisher's store another schema, and a way to it."""
    version = schema.VERSION
    path = code / "publisher/schema.py"
    text = path.read_text("utf-8")
    text = text.replace(f"\nVERSION = {version}\n", f"\nVERSION = {version + 1}\n")
    step = f"MIGRATIONS[{version}] = 'ALTER TABLE visit ADD COLUMN by TEXT; PRAGMA user_version = {version + 1};'\n"
    path.write_text(text + step, "utf-8")


@pytest.fixture(scope="module")
def now(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this version's code, compiled once for the many processes of it and of what is made of it."""
    folder = tmp_path_factory.mktemp("now")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    assert compileall.compile_dir(folder, quiet=1)
    return folder


def make_next(now: Path, folder: Path, *changes: Callable[[Path], None]) -> Path:
    """Copies the code, with what is compiled of it, and changes it."""
    shutil.copytree(now, folder)
    for each in changes:
        each(folder)
    return folder


class Village:
    """A workspace that is written by hand, its Redis, and the settings of its hosts."""

    def __init__(self, town: Town, folder: Path) -> None:
        self.town, self.folder, self.hand = town, folder, town.hand
        self._logs = 0

    def start_host(self, name: str, code: Path, *words: object) -> Host:
        """Starts a host on a data folder, with a version's code."""
        self._logs += 1
        environ = self.town.set_edge(self.folder / name, WORKERS=1)
        environ["GRAYWAVE_EDGE_WORKSPACES"] = f"hand={self.town.keys['hand'] / 'root.json'}"
        return Host(environ, self.folder / f"edge-{self._logs}.log", *words, code=code)

    def publish(self, version: str, number: int = 1) -> None:
        """Publishes a version in a document of a format."""
        self.hand.put(self.hand.seal(self.hand.make(version, format=number)))


@pytest.fixture
def village(town: Town, tmp_path: Path) -> Village:
    """A workspace whose devices are told of version 1.0.0.0."""
    village = Village(town, tmp_path)
    village.publish("1.0.0.0")
    return village


def tell(answer: Any) -> str:
    """The version that an answer tells, or what it says instead."""
    versions = [update["version"] for update in answer["updates"]] if isinstance(answer, dict) else []
    return versions[0] if versions else f"not a version but {answer}"


@contextmanager
def ask_all_the_time(host: Host, allowed: set[str]) -> Iterator[Outcome]:
    """Devices ask a host meanwhile: nobody is refused, cut off or told anything that is not allowed at that time."""
    with stream(host.devices, QUESTION, lambda answer: tell(answer) in allowed, connections=2) as outcome:
        eventually(lambda: outcome.answered > 2)
        yield outcome
    assert (outcome.refused, outcome.cut, outcome.lost, outcome.wrong) == ([], [], [], [])


def is_told(host: Host, version: str) -> bool:
    """Says whether a host tells this version."""
    return tell(host.check("hand")) == version


def read_refused(host: Host) -> Any:
    return host.read_status()["workspaces"]["hand"]["refused"]


def reload(village: Village, name: str, host: Host) -> None:
    """Brings the code that lies there now to a host; returns when the old processes have left."""
    before = host.list_pids()[1:]
    done = run_graywave("edge", "reload", "--data", village.folder / name)
    assert (done.returncode, done.stdout) == (0, "reloaded\n"), done.stderr
    eventually(lambda: not any(map(is_running, before)))


def test_documents_of_a_newer_format(village: Village, now: Path, tmp_path: Path) -> None:
    """An edge names them and keeps the last good one; the next version takes them at once; back go publishers first."""
    code = make_next(now, tmp_path / "code")
    with village.start_host("edge", code) as host:
        eventually(lambda: host.is_current() and is_told(host, "1.0.0.0"))
        with ask_all_the_time(host, {"1.0.0.0", "2.0.0.0"}):
            village.publish("2.0.0.0", number=2)
            (refused,) = eventually(lambda: read_refused(host))
            assert (refused["kind"], refused["id"], "$.format" in refused["reason"]) == ("program", PROGRAM, True)
            assert is_told(host, "1.0.0.0")
            raise_formats(code)
            reload(village, "edge", host)
            eventually(lambda: is_told(host, "2.0.0.0"))
            eventually(lambda: read_refused(host) == [])
        # Downwards: first what only the newer version understands is published for the older one again.
        with ask_all_the_time(host, {"2.0.0.0", "3.0.0.0"}):
            village.publish("3.0.0.0")
            eventually(lambda: is_told(host, "3.0.0.0"))
        with ask_all_the_time(host, {"3.0.0.0", "4.0.0.0"}):
            copy_back(code)
            reload(village, "edge", host)
            village.publish("4.0.0.0")
            eventually(lambda: is_told(host, "4.0.0.0"))
            assert read_refused(host) == []


def copy_back(code: Path) -> None:
    """Makes the code this version's again."""
    for name in FORMATS:
        shutil.copy(ROOT / name, code / name)


def test_edge_db_of_another_layout(village: Village, now: Path, tmp_path: Path) -> None:
    """On one data folder each version goes on with a file of its own; the other host answers while one is restarted."""
    later = make_next(now, tmp_path / "later", raise_layout, raise_formats)
    data = village.folder / "edge"
    with village.start_host("other", now) as other:
        eventually(lambda: other.is_current() and is_told(other, "1.0.0.0"))
        allowed = {"1.0.0.0"}
        with ask_all_the_time(other, allowed):
            for number, version in enumerate((now, later, now)):
                with village.start_host("edge", version) as host:
                    eventually(host.is_current)
                    with ask_all_the_time(host, allowed):
                        newest = f"{number + 2}.0.0.0"
                        allowed.add(newest)
                        village.publish(newest)
                        eventually(lambda host=host, newest=newest: is_told(host, newest))
                    assert host.end() == 0
                assert (data / FILE_NAME).exists()
                assert (data / NEXT_FILE_NAME).exists() == (number > 0)
            eventually(lambda: is_told(other, newest))


def test_store_of_a_newer_schema(now: Path, tmp_path: Path) -> None:
    """The next version brings a publisher's store over, and goes on; this one refuses it then, and changes nothing."""
    town = Town(tmp_path / "town")
    try:
        town.publish("1.0.0.0")
        assert town.publisher.end() == 0
        later = make_next(now, tmp_path / "later", raise_schema)
        with Server(["publisher"], town.set_publisher(), tmp_path / "later.log", later) as publisher:
            town.address = publisher.find(r"publishing workspace demo at http://(\S+)")
            town.publish("2.0.0.0")
            assert publisher.end() == 0
        store = tmp_path / "town/publisher/publisher.db"
        before = store.read_bytes()
        with Server(["publisher"], town.set_publisher(), tmp_path / "again.log") as older:
            assert older.process.wait(90) == 1
            wanted = f"expected a store of schema {schema.VERSION}, got {schema.VERSION + 1}: it is another release's"
            assert wanted in older.read_log()
        assert store.read_bytes() == before
    finally:
        town.close()
