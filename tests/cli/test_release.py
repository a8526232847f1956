"""Releasing on the command line: what becomes of a document, and a package that reaches devices."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from bundle import LocalStore
from cli.draft import count_parts
from cli.exit import CommandError, Exit
from cli.release import add_release, merge_package
from tests.cli.conftest import Run
from tests.cli.running import Running
from tests.end_to_end.town import eventually

LONG = "".join(f"line {number} of {number * number % 977}\n" for number in range(3000))
_programs = (f"20210000000010{number:02}" for number in itertools.count(1))
MANIFEST: dict[str, Any] = {
    "program": "2021000000000001",
    "version": "1.1.0",
    "package": {"sha256": "5e" * 32, "size": 9, "transfers": [{"format": "zstd", "size": 5, "sha256": "7f" * 32}]},
}


@pytest.fixture
def program() -> str:
    """A program that nobody has published."""
    return next(_programs)


@pytest.fixture
def packed(graywave: Run, program: str, tmp_path: Path) -> Path:
    """Its version 1.0.0, packed."""
    return pack(graywave, tmp_path, program, "1.0.0", "hello")


def pack(graywave: Run, folder: Path, program: str, version: str, text: str) -> Path:
    """Packs a program of one page."""
    source = folder / f"source-{version}"
    source.mkdir(exist_ok=True)
    (source / "index.html").write_text(text)
    out = folder / f"out-{version}"
    result = graywave("pack", source, "--program", program, "--version", version, "--out", out, "--level", "1")
    assert result.exit_code == 0, result.stderr
    return out


def test_a_release_reaches_devices(graywave: Run, running: Running, packed: Path, program: str) -> None:
    """The file is in the store, and devices are told of it."""
    result = graywave("release", packed)
    assert result.exit_code == 0
    assert result.stdout.startswith(f"released 1.0.0 of {program} as r1, revision ")
    manifest = json.loads((packed / "package.json").read_bytes())
    assert LocalStore(running.data / "store").has(manifest["package"]["transfers"][0]["sha256"])
    (update,) = eventually(lambda: json.loads(graywave("check", program).stdout)["updates"])
    assert (update["version"], update["release"]) == ("1.0.0", "r1")


def test_a_second_version(graywave: Run, packed: Path, program: str, tmp_path: Path) -> None:
    """A newer version goes on top, for whom the options name; a script gets JSON."""
    graywave("release", packed)
    newer = pack(graywave, tmp_path, program, "1.1.0", "hello again")
    told = json.loads(graywave("release", newer, "--percent", "12.5", "--user", "a", "--user", "b", "--json").stdout)
    assert (told["program"], told["version"], told["release"]) == (program, "1.1.0", "r2")
    document = json.loads(graywave("document get", program).stdout)
    assert [release["id"] for release in document["releases"]] == ["r2", "r1"]
    who = document["releases"][0]["who"]
    assert (who["users"], who["percent"]["parts"]) == (["a", "b"], 125_000)


def test_a_dry_run(graywave: Run, running: Running, packed: Path, program: str) -> None:
    """A dry run stores and publishes nothing."""
    result = graywave("release", packed, "--dry-run", "--store", running.data / "other")
    assert result.stdout.startswith(f"would release 1.0.0 of {program} as r1")
    assert graywave("document get", program).exit_code == 3
    assert not (running.data / "other").exists()


def test_other_bytes_under_a_version(graywave: Run, packed: Path, program: str, tmp_path: Path) -> None:
    """A version that is published keeps its bytes; the same bytes may be released again."""
    graywave("release", packed)
    other = pack(graywave, tmp_path, program, "1.0.0", "other bytes")
    result = graywave("release", other)
    message = f"graywave: version 1.0.0 of {program} is published with other bytes: pack them as a newer version\n"
    assert (result.exit_code, result.stderr) == (3, message)
    pack(graywave, tmp_path, program, "1.0.0", "hello")
    assert graywave("release", packed, "--user", "a").exit_code == 0


def test_a_warning_is_for_people(graywave: Run, packed: Path) -> None:
    """What the publisher doubts is shown beside the result."""
    graywave("release", packed)
    result = graywave("release", packed, "--id", "below", "--below", "r1")
    assert result.exit_code == 0
    assert result.stderr.startswith("warning: $.releases[1]: ")


@pytest.mark.parametrize("spoil", ["bytes", "absent"])
def test_a_package_that_was_changed(graywave: Run, packed: Path, program: str, spoil: str) -> None:
    """A file that is not what the manifest says is released to nobody."""
    digest = json.loads((packed / "package.json").read_bytes())["package"]["transfers"][0]["sha256"]
    if spoil == "bytes":
        (packed / digest).write_bytes(b"other")
    else:
        (packed / digest).unlink()
    result = graywave("release", packed)
    assert result.exit_code == 1
    said = f"{packed}: expected a file of sha256 {digest}, got " if spoil == "bytes" else f"{packed / digest}: expected"
    assert result.stderr.startswith(f"graywave: {said}")
    assert graywave("document get", program).exit_code == 3


@pytest.mark.parametrize(
    "change",
    [
        None,
        "{",
        "[]",
        "{}",
        MANIFEST | {"version": 1},
        MANIFEST | {"program": "../../x"},
        MANIFEST | {"package": {"sha256": "5e" * 32, "transfers": [{"sha256": "../../../../etc/passwd"}]}},
        MANIFEST | {"package": {"sha256": "5e" * 32}},
    ],
)
def test_what_was_not_packed(graywave: Run, tmp_path: Path, change: object) -> None:
    """A folder that `graywave pack` did not write is named; a digest that is a path opens nothing."""
    if change is not None:
        (tmp_path / "package.json").write_text(change if isinstance(change, str) else json.dumps(change))
    result = graywave("release", tmp_path)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"graywave: {tmp_path}: expected a folder that graywave pack wrote: ")


def test_nothing_runs(run: Run, tmp_path: Path) -> None:
    """Where nothing runs, the code is 4."""
    (tmp_path / "package.json").write_text(json.dumps(MANIFEST))
    assert run("release", tmp_path).exit_code == 4


@pytest.mark.parametrize(("percent", "parts"), [("0", 0), ("0.0001", 1), ("33.3333", 333_333), ("100", 1_000_000)])
def test_a_percentage_in_parts(percent: str, parts: int) -> None:
    """A percentage becomes a whole number of parts, exactly."""
    assert count_parts(percent) == parts


@pytest.mark.parametrize("percent", ["-1", "100.0001", "0.00001", "nan", "inf", "", "half", "1e999999999"])
def test_a_percentage_that_is_none(run: Run, tmp_path: Path, percent: str) -> None:
    """Less than nothing, more than all, and what is finer than a part is refused, not rounded."""
    result = run("release", tmp_path, "--percent", percent)
    message = f"graywave: expected a percentage from 0 to 100 in steps of 0.0001, got {percent!r}\n"
    assert (result.exit_code, result.stderr) == (2, message)


def test_the_document_given_is_left_alone() -> None:
    """A release is added to a copy; ids in use are passed over."""
    document = {"program": "2021000000000001", "packages": {}, "releases": [{"id": "r1"}, {"id": "r3"}]}
    changed, made = add_release(document, MANIFEST)
    assert made == "r2"
    assert changed["releases"][0] == {"id": "r2", "package": "1.1.0"}
    assert len(document["releases"]) == 2
    assert document["packages"] == {}


def test_below_another() -> None:
    """A hotfix goes right below the release that is named."""
    document = {"program": "2021000000000001", "packages": {}, "releases": [{"id": "gray"}, {"id": "all"}]}
    changed, _ = add_release(document, MANIFEST, {"who": {"users": ["a"]}}, "fix", "gray")
    assert [release["id"] for release in changed["releases"]] == ["gray", "fix", "all"]
    assert changed["releases"][1]["who"] == {"users": ["a"]}


@pytest.mark.parametrize(("ids", "named"), [(["gray", "all"], "gray, all"), ([], "none")])
def test_below_none(ids: list[str], named: str) -> None:
    """A release that there is none is told with those that there are."""
    document = {"program": "2021000000000001", "packages": {}, "releases": [{"id": name} for name in ids]}
    with pytest.raises(CommandError) as caught:
        add_release(document, MANIFEST, {}, None, "other")
    assert caught.value.message == f"expected a release of {named}, got other"
    assert caught.value.exit_code == Exit.USAGE


def test_options_of_a_release(graywave: Run, packed: Path, program: str) -> None:
    """Urgency, rollback and floor stand where the document has them; what is not said is left out."""
    graywave("release", packed)
    first = read(graywave, program)["releases"][0]
    assert (first["urgency"], first["rollback"]) == ("silent", None)
    options = ("--urgency", "prompt", "--rollback-from", "1.2", "--rollback-from", "1.1", "--floor", "1.0")
    assert graywave("release", packed, *options).exit_code == 0
    document = read(graywave, program)
    rollback = {"from": ["1.2", "1.1"]}
    assert document["releases"][0] == first | {"id": "r2", "urgency": "prompt", "rollback": rollback}
    assert document["floor"] == "1.0"
    graywave("release", packed, "--floor", "")
    assert not read(graywave, program).get("floor")


def read(graywave: Run, program: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(graywave("document get", program).stdout)
    return document


def test_deltas_follow(graywave: Run, running: Running, packed: Path, program: str, tmp_path: Path) -> None:
    """Once it is out, a delta and a stronger full transfer are made and published too, and shown."""
    graywave("release", packed)
    newer = pack(graywave, tmp_path, program, "1.1.0", LONG)
    result = graywave("release", newer, "--json")
    told = json.loads(result.stdout)
    assert (result.exit_code, told["release"]) == (0, "r2")
    assert [part["from"] for part in told["refined"]["deltas"]] == []
    latest = pack(graywave, tmp_path, program, "1.2.0", LONG + "more")
    lines = graywave("release", latest).stdout.splitlines()
    full, delta = read(graywave, program)["packages"]["1.2.0"]["transfers"]
    assert delta["from"] == "1.1.0"
    assert LocalStore(running.data / "store").has(delta["sha256"])
    assert lines[0].startswith(f"released 1.2.0 of {program} as r3, revision ")
    assert f"full transfer: {full['size']} bytes now" in lines
    share = 100 * delta["size"] / full["size"]
    assert f"delta from 1.1.0: {delta['size']} bytes, {share:.1f} % of the full transfer" in lines
    assert "no delta from 1.0.0: it would save less than a fifth" in lines
    assert int(lines[-1].removeprefix("published revision ")) > int(lines[0].rpartition(" ")[2])


def test_nothing_follows(graywave: Run, packed: Path, program: str, tmp_path: Path) -> None:
    """Without refining the release is all that is published."""
    graywave("release", packed)
    newer = pack(graywave, tmp_path, program, "1.1.0", LONG)
    before = json.loads((newer / "package.json").read_bytes())["package"]["transfers"]
    result = graywave("release", newer, "--no-refine", "--json")
    assert "refined" not in json.loads(result.stdout)
    assert read(graywave, program)["packages"]["1.1.0"]["transfers"] == before


@pytest.mark.parametrize("script", [(), ("--json",)])
def test_what_follows_may_fail(
    graywave: Run, packed: Path, program: str, monkeypatch: pytest.MonkeyPatch, script: tuple[str, ...]
) -> None:
    """A release is out whatever happens to what follows: that is told, and is no failure."""

    def fail(*_: object) -> None:
        raise CommandError("the store is away", Exit.UNREACHABLE)

    monkeypatch.setattr("cli.release.refine_version", fail)
    result = graywave("release", packed, *script)
    message = "warning: released, but not refined (graywave refine): the store is away\n"
    assert (result.exit_code, result.stderr) == (0, message)
    assert read(graywave, program)["releases"]
    if script:
        assert json.loads(result.stdout)["refined"] is None


def test_files_that_devices_cannot_fetch(graywave: Run, program: str, tmp_path: Path) -> None:
    """Where files are stored in another place than the edge serves, nothing is released."""
    packed = pack(graywave, tmp_path, program, "1.0.0", "what no other test packs")
    result = graywave("release", packed, "--store", tmp_path / "other")
    assert result.exit_code == 3
    assert LocalStore(tmp_path / "other").has(read_transfers(packed)[0]["sha256"])
    assert graywave("document get", program).exit_code == 3


def test_a_store_that_is_none(graywave: Run, packed: Path) -> None:
    """An address that is no store's is the caller's mistake."""
    result = graywave("release", packed, "--store", "ftp://store")
    assert result.exit_code == 2
    assert result.stderr.startswith("graywave: expected a folder or s3://bucket as the address of a store, got ")


def read_transfers(packed: Path) -> Any:
    return json.loads((packed / "package.json").read_bytes())["package"]["transfers"]


def test_packed_deltas_are_released(
    graywave: Run, run: Run, running: Running, packed: Path, program: str, tmp_path: Path
) -> None:
    """A delta that was made before lies in the store when devices are told of it; it is not made again."""
    graywave("release", packed)
    older = pack(graywave, tmp_path, program, "1.1.0", LONG)
    newer = pack(graywave, tmp_path, program, "1.2.0", LONG + "more")
    assert run("delta", older, newer).exit_code == 0
    graywave("release", older, "--no-refine")
    told = json.loads(graywave("release", newer, "--bases", "1", "--json").stdout)
    assert told["refined"]["skipped"] == [{"from": "1.1.0", "reason": "there is one"}]
    packed_delta = read_transfers(newer)[1]
    assert read(graywave, program)["packages"]["1.2.0"]["transfers"][1] == packed_delta
    assert LocalStore(running.data / "store").has(packed_delta["sha256"])


def test_what_was_made_since_stays(graywave: Run, packed: Path, program: str, tmp_path: Path) -> None:
    """A version that is released again keeps what was made of it since it was packed."""
    graywave("release", packed)
    graywave("release", pack(graywave, tmp_path, program, "1.1.0", LONG))
    newer = pack(graywave, tmp_path, program, "1.2.0", LONG + "more")
    graywave("release", newer)
    before = read(graywave, program)["packages"]
    assert before["1.2.0"]["transfers"] != read_transfers(newer)
    assert graywave("release", newer, "--user", "a", "--no-refine").exit_code == 0
    assert read(graywave, program)["packages"] == before


def make_entry(key: str = "", *names: str) -> dict[str, Any]:
    """Returns a package's entry with transfers of these names: a full one, then deltas from tars of their names."""
    transfers = [{"format": "dcz" if at else "zstd", "sha256": name, "from_sha256": name if at else "", "url": "new"}
                 for at, name in enumerate(names)]  # fmt: skip
    return {"sha256": "5e", "transfers": transfers, "extra": {"of": names[0]}} | ({"key": key} if key else {})


def test_entries_are_merged() -> None:
    """What is published stays, by its address of now where it was packed; what else was packed is added."""
    published = make_entry("", "full", "a", "b")
    for transfer in published["transfers"]:
        transfer["url"] = "old"
    merged = merge_package(published, make_entry("", "packed", "b", "c"))
    told = [(transfer["sha256"], transfer["url"]) for transfer in merged["transfers"]]
    assert told == [("full", "old"), ("a", "old"), ("b", "new"), ("c", "new")]
    assert merged["extra"] == {"of": "packed"}


@pytest.mark.parametrize(("published", "packed"), [("k", "other"), ("k", ""), ("", "k")])
def test_another_key_adds_nothing(published: str, packed: str) -> None:
    """Transfers that the published key does not open are not published; the key stays what it is."""
    merged = merge_package(make_entry(published, "full", "a"), make_entry(packed, "packed", "b"))
    assert [transfer["sha256"] for transfer in merged["transfers"]] == ["full", "a"]
    assert merged.get("key", "") == published


def test_whom_and_when(graywave: Run, packed: Path, program: str) -> None:
    """A ramp, a window and times stand in the document as the options have them."""
    moments = ("--opens", "2030-01-01", "--closes", "2031-01-01")
    window = ("--window", "2000", "--until", "2030-06-01", "--per-minute", "50", "--proven")
    assert graywave("release", packed, *moments, "--ramp", "5%@2030-02-01,20%@2030-03-01", *window).exit_code == 0
    release = read(graywave, program)["releases"][0]
    assert (release["opens_at"], release["closes_at"]) == (1_893_456_000, 1_924_992_000)
    percent, made = release["who"]["percent"], release["who"]["window"]
    assert (percent["parts"], [step["parts"] for step in percent["steps"]]) == (0, [50_000, 200_000])
    assert (made["limit"], made["per_minute"], made["proven"]) == (2_000, 50, True)
    assert made["closes_at"] == 1_906_502_400
    assert made["id"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--window", "5"), "expected --until TIME with --window: a window closes"),
        (("--until", "+1h"), "expected --window N with --until, --per-minute and --proven"),
        (("--per-minute", "5"), "expected --window N with --until, --per-minute and --proven"),
        (("--proven",), "expected --window N with --until, --per-minute and --proven"),
        (("--ramp", "5%"), "expected a ramp such as 5%@+1h,20%@2026-01-31T09:00, got '5%'"),
        (("--continues", "r9"), "expected a release of none, got r9"),
    ],
)
def test_options_that_do_not_fit(graywave: Run, packed: Path, options: tuple[str, ...], message: str) -> None:
    """What is missing is told, and nothing is published."""
    result = graywave("release", packed, *options)
    assert (result.exit_code, result.stderr) == (2, f"graywave: {message}\n")


def test_a_hotfix_of_a_gray(graywave: Run, packed: Path, program: str, tmp_path: Path) -> None:
    """It is for whom the gray is, by its very salt and window, and stands on top of it; urgent for a while."""
    window = ("--window", "9", "--until", "+1h")
    assert graywave("release", packed, "--percent", "5", "--user", "u", *window, "--no-refine").exit_code == 0
    newer = pack(graywave, tmp_path, program, "1.0.1", "hello again")
    assert graywave("release", newer, "--continues", "r1", "--urgent", "10", "--no-refine").exit_code == 0
    document = read(graywave, program)
    hotfix, gray = document["releases"]
    assert (hotfix["id"], hotfix["package"], hotfix["continues"]) == ("r2", "1.0.1", "r1")
    assert hotfix["who"] == gray["who"]
    assert gray["who"]["percent"]["salt"]
    assert gray["who"]["window"]["id"]
    assert document["urgent"]["poll_after"] == 300


def test_a_folder_or_a_command(graywave: Run, run: Run, packed: Path) -> None:
    """What is no command is the folder of a package, wherever its options stand."""
    assert graywave("release packed", packed, "--dry-run").exit_code == 0
    assert graywave("release", "--dry-run", packed).exit_code == 0
    assert graywave("release", "--user", "u", "--dry-run", packed).exit_code == 0
    result = run("release", "nowhere")
    assert (result.exit_code, "Directory 'nowhere' does not exist." in result.stderr) == (2, True)
    result = run("release", "--help")
    assert all(f"  {name} " in result.stdout for name in ("packed", "pause", "resume", "end", "rollback", "take-down"))
    assert "--rollback-from" in run("release", "packed", "--help").stdout
