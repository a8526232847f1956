"""Reading settings: which source wins, and that no problem hides another."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from settings import SettingsError, describe, read


@dataclass(frozen=True, slots=True)
class Sample:
    """One setting of each kind."""

    redis: str
    workers: int = field(default=2, metadata={"help": "worker processes", "min": 1, "max": 64})
    ratio: float = field(default=0.5, metadata={"min": 0})
    lane: bool = True
    data: Path = Path("data")
    names: tuple[str, ...] = ()
    workspaces: Mapping[str, Path] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    log: Path | None = None
    token: str = field(default="swordfish", metadata={"secret": True, "help": "who has it may publish"})
    rates: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.workers > 32 and not self.lane:
            raise ValueError("expected lane with more than 32 workers, got none")


PREFIX = "GRAYWAVE_EDGE_"


def read_sample(toml: Path | None = None, **variables: str) -> Sample:
    return read(Sample, "edge", toml, {f"{PREFIX}{name}": value for name, value in variables.items()}, PREFIX)


def write(folder: Path, text: str) -> Path:
    toml = folder / "edge.toml"
    toml.write_text(text)
    return toml


def problems(toml: Path | None = None, **variables: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        read_sample(toml, **variables)
    assert str(caught.value).split("\n") == list(caught.value.problems)
    return list(caught.value.problems)


def test_defaults_stand_where_nothing_is_set() -> None:
    """Only what is required has to be set."""
    assert read_sample(REDIS="r") == Sample(redis="r")


def test_file_sets_each_kind(tmp_path: Path) -> None:
    """Each kind is read from TOML, and relative paths start from the file's folder."""
    toml = write(
        tmp_path,
        '[edge]\nredis = "r"\nworkers = 64\nratio = 1\nlane = true\ndata = "d"\nnames = ["a", "b"]\nlog = "/l"\n'
        'token = "t"\n[edge.workspaces]\ndemo = "root.json"\n[edge.labels]\nzone = "a"\n',
    )
    workspaces = {"demo": tmp_path / "root.json"}
    rest = {"names": ("a", "b"), "workspaces": workspaces, "labels": {"zone": "a"}, "log": Path("/l"), "token": "t"}
    expected = Sample("r", 64, 1.0, lane=True, data=tmp_path / "d", **rest)
    assert read_sample(toml) == expected


def test_environment_sets_each_kind() -> None:
    """Each kind is read from a variable, and relative paths stay relative to the working folder."""
    sample = read_sample(
        REDIS="r", WORKERS="1", RATIO="1e1", LANE="FALSE", DATA="d", NAMES="a, b,", WORKSPACES="demo=a.json, x=b=c",
        LABELS="zone=a", LOG="", TOKEN="t",
    )  # fmt: skip
    workspaces = {"demo": Path("a.json"), "x": Path("b=c")}
    rest = {"names": ("a", "b"), "workspaces": workspaces, "labels": {"zone": "a"}, "token": "t"}
    assert sample == Sample("r", 1, 10.0, lane=False, data=Path("d"), **rest)


def test_environment_overrides_the_file(tmp_path: Path) -> None:
    """A variable wins over the file, setting by setting."""
    sample = read_sample(write(tmp_path, '[edge]\nredis = "file"\nworkers = 3\n'), REDIS="variable")
    assert (sample.redis, sample.workers) == ("variable", 3)


def test_other_variables_are_not_ours() -> None:
    """Variables without the prefix are passed over."""
    assert read(Sample, "edge", None, {f"{PREFIX}REDIS": "r", "GRAYWAVE_PORT": "x"}, PREFIX).redis == "r"


def test_every_problem_is_reported_at_once(tmp_path: Path) -> None:
    """All problems of the file, the environment and what is missing come in one error, each with its place."""
    toml = write(tmp_path, '[edge]\nworkers = "four"\nlanes = true\n[egde]\n')
    assert problems(toml, WORKERS="65", RATIOS="1") == [
        f"{toml}: egde: unknown, expected the table [edge]",
        f"{toml}: edge.workers: expected an integer from 1 to 64, got 'four'",
        f"{toml}: edge.lanes: unknown setting, did you mean lane",
        "GRAYWAVE_EDGE_RATIOS: unknown setting, did you mean GRAYWAVE_EDGE_RATIO",
        "GRAYWAVE_EDGE_WORKERS: expected an integer from 1 to 64, got '65'",
        "GRAYWAVE_EDGE_REDIS: required, and set neither there nor as edge.redis in a file",
    ]


def test_hidden_value_is_checked_too(tmp_path: Path) -> None:
    """A wrong value in the file is a problem even where a variable overrides it."""
    toml = write(tmp_path, "[edge]\nworkers = 0\n")
    message = f"{toml}: edge.workers: expected an integer from 1 to 64, got 0"
    assert problems(toml, REDIS="r", WORKERS="2") == [message]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("redis = 1", "edge.redis: expected text, got 1"),
        ("workers = true", "edge.workers: expected an integer from 1 to 64, got True"),
        ("workers = 2.0", "edge.workers: expected an integer from 1 to 64, got 2.0"),
        ("workers = 65", "edge.workers: expected an integer from 1 to 64, got 65"),
        ('ratio = "1"', "edge.ratio: expected a number of at least 0, got '1'"),
        ("ratio = nan", "edge.ratio: expected a number of at least 0, got nan"),
        ("ratio = -0.1", "edge.ratio: expected a number of at least 0, got -0.1"),
        ("lane = 1", "edge.lane: expected true or false, got 1"),
        ('data = ""', "edge.data: expected a path, got ''"),
        ('names = "a"', "edge.names: expected a list of texts, got 'a'"),
        ("names = [1]", "edge.names: expected a list of texts, got [1]"),
        ("workspaces = 1", "edge.workspaces: expected a table of paths (name=path,...), got 1"),
        ("workspaces = {demo = 1}", "edge.workspaces: expected a table of paths (name=path,...), got {'demo': 1}"),
        ("labels = {zone = 1}", "edge.labels: expected a table of texts (name=text,...), got {'zone': 1}"),
        ("rates = {a = 0}", "edge.rates: expected a table of numbers from 1 (name=1,...), got {'a': 0}"),
        ("rates = {a = '1'}", "edge.rates: expected a table of numbers from 1 (name=1,...), got {'a': '1'}"),
        ("token = 12345", "edge.token: expected text, got ***"),
    ],
)
def test_wrong_value_in_the_file_is_named(tmp_path: Path, line: str, expected: str) -> None:
    """A value of another type or out of bounds is refused with its place, what was expected and what was got."""
    toml = write(tmp_path, f"[edge]\n{line}\n")
    assert problems(toml, REDIS="r") == [f"{toml}: {expected}"]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("WORKERS", "", "expected an integer from 1 to 64, got ''"),
        ("WORKERS", "1_0", "expected an integer from 1 to 64, got '1_0'"),
        ("WORKERS", " 1", "expected an integer from 1 to 64, got ' 1'"),
        ("WORKERS", "9" * 5000, f"expected an integer from 1 to 64, got '{'9' * 5000}'"),
        ("RATIO", "inf", "expected a number of at least 0, got 'inf'"),
        ("LANE", "maybe", "expected true or false, got 'maybe'"),
        ("DATA", "", "expected a path, got ''"),
        ("DATA", "a\0b", "expected a path, got 'a\\x00b'"),
        ("WORKSPACES", "demo", "expected a table of paths (name=path,...), got 'demo'"),
        ("WORKSPACES", "a=b,a=c", "expected a table of paths (name=path,...), got 'a=b,a=c'"),
        ("WORKSPACES", "=b", "expected a table of paths (name=path,...), got '=b'"),
        ("WORKSPACES", "a=", "expected a table of paths (name=path,...), got 'a='"),
        ("RATES", "a=0", "expected a table of numbers from 1 (name=1,...), got 'a=0'"),
        ("RATES", "a=x", "expected a table of numbers from 1 (name=1,...), got 'a=x'"),
    ],
)
def test_wrong_variable_is_named(name: str, value: str, expected: str) -> None:
    """A variable that cannot be read is refused by its name."""
    assert problems(None, **{"REDIS": "r", name: value}) == [f"GRAYWAVE_EDGE_{name}: {expected}"]


def test_unreadable_file_is_a_problem_among_others(tmp_path: Path) -> None:
    """A file that is not there does not hide what is wrong with the environment."""
    toml = tmp_path / "none.toml"
    assert problems(toml, REDIS="r", LANE="x") == [
        f"{toml}: expected a file that can be read: No such file or directory",
        "GRAYWAVE_EDGE_LANE: expected true or false, got 'x'",
    ]


@pytest.mark.parametrize("content", [b"[edge\n", b"\xff"])
def test_file_that_is_not_toml_is_named(tmp_path: Path, content: bytes) -> None:
    """A file of something else is refused with the place of its first mistake."""
    toml = tmp_path / "edge.toml"
    toml.write_bytes(content)
    assert problems(toml, REDIS="r")[0].startswith(f"{toml}: expected TOML: ")


def test_section_is_a_table(tmp_path: Path) -> None:
    """A section that is a value is refused."""
    toml = write(tmp_path, "edge = 1\n")
    assert problems(toml, REDIS="r") == [f"{toml}: edge: expected a table, got 1"]


def test_settings_that_do_not_go_together_are_a_problem() -> None:
    """What the dataclass itself refuses is reported like any other problem."""
    assert problems(REDIS="r", WORKERS="33", LANE="0") == ["edge: expected lane with more than 32 workers, got none"]


def test_secret_never_shows() -> None:
    """A secret is what it is to the program, and *** in the repr, whether set or by default."""
    sample = read_sample(REDIS="r", TOKEN="open sesame")
    assert sample.token == "open sesame"
    assert f"{sample.token}" == "open sesame"
    assert "open sesame" not in repr(sample)
    assert "token='***'" in repr(sample)
    assert "token='***'" in repr(read_sample(REDIS="r"))


def test_tables_are_not_changed_later() -> None:
    """A table that was read is as frozen as the dataclass."""
    tables: Any = read_sample(REDIS="r", WORKSPACES="a=b")
    with pytest.raises(TypeError):
        tables.workspaces["c"] = Path("d")


def test_table_of_numbers(tmp_path: Path) -> None:
    """The numbers are numbers, from the file and from a variable."""
    toml = write(tmp_path, "[edge]\nredis = 'r'\nrates = {a = 5}\n")
    assert read_sample(toml).rates == {"a": 5}
    assert read_sample(toml, RATES="a=7,b=1").rates == {"a": 7, "b": 1}


def test_describe_lists_each_setting() -> None:
    """The reference has name, type, default and help of each setting in order, and no secret."""
    rows = {row.name: row[1:] for row in describe(Sample)}
    assert rows == {
        "redis": ("text", "required", ""),
        "workers": ("an integer from 1 to 64", "2", "worker processes"),
        "ratio": ("a number of at least 0", "0.5", ""),
        "lane": ("true or false", "true", ""),
        "data": ("a path", "'data'", ""),
        "names": ("a list of texts", "empty", ""),
        "workspaces": ("a table of paths (name=path,...)", "empty", ""),
        "labels": ("a table of texts (name=text,...)", "empty", ""),
        "log": ("a path", "none", ""),
        "token": ("text", "'***'", "who has it may publish"),
        "rates": ("a table of numbers from 1 (name=1,...)", "empty", ""),
    }
