"""Sheets: which bit a condition has, what a column remembers and forgets, and which sheet a program comes to."""

import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ruleset import sheet as module
from ruleset.compiler import CompiledProgram
from ruleset.condition import ATTRIBUTES, CompiledCondition, Fact, compile_condition, read_text, read_version
from ruleset.evaluator import evaluate
from ruleset.model import Condition, Device
from ruleset.sheet import Binder, Column, Sheet
from ruleset.version import NOT_INSTALLED, parse_version

Json = dict[str, Any]
Compile = Callable[..., CompiledProgram]
MakeDevice = Callable[..., Device]
ReadFact = Callable[[str, Device, int], Fact]

# What a device that says everything says; each attribute differs from all others.
SAID: Json = {
    "model": "MI 10",
    "manufacturer": "Xiaomi",
    "network": "5g",
    "city": "Paris",
    "region": "IDF",
    "country": "FR",
    "locale": "fr-FR",
    "platform": "harmony",
    "os": "14",
    "app": "10.1",
    "tags": {"ring": "Beta"},
}
INSTALLED = parse_version("2")

words = st.sampled_from(["a", "ab", "b", "", " B "])
versions = st.sampled_from(["1", "1.5", "2", "old", ""])
devices = st.fixed_dictionaries(
    {"platform": st.sampled_from(["android", "ios"])},
    optional={
        "model": words,
        "city": words,
        "os": versions,
        "app": versions,
        "network": st.sampled_from(["wifi", "5g"]),
        "tags": st.dictionaries(st.sampled_from(["x", "y"]), words),
    },
)
text_conditions = st.fixed_dictionaries(
    {
        "attribute": st.sampled_from(["model", "city", "tags.x", "tags.y"]),
        "op": st.sampled_from(["in", "not_in", "contains", "prefix"]),
        "values": st.lists(st.sampled_from(["a", "B", "c"]), min_size=1, max_size=2),
    }
)
closed_conditions = st.fixed_dictionaries(
    {
        "attribute": st.sampled_from(["network", "platform"]),
        "op": st.sampled_from(["contains", "prefix"]),
        "values": st.sampled_from([["i"], ["5"]]),
    }
)
version_conditions = st.fixed_dictionaries(
    {
        "attribute": st.sampled_from(["os", "app", "installed"]),
        "op": st.sampled_from(["in", "not_in", "between", "outside"]),
        "values": st.sampled_from([["1", "1.5"], ["1.5", "2.*"]]),
    }
)
conditions = text_conditions | closed_conditions | version_conditions
installed_keys = st.sampled_from([NOT_INSTALLED, *map(parse_version, ["0", "1", "1.5", "2.5"])])
stacks = st.lists(st.fixed_dictionaries({"when": st.lists(conditions, max_size=3)}), max_size=3)


class Recorder:
    """Accepts every fact, and keeps what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[object] = []

    def __contains__(self, fact: object) -> bool:
        self.asked.append(fact)
        return True


def ask(attribute: str, op: Any, *values: str) -> CompiledCondition:
    return compile_condition(Condition(attribute, op, list(values)), "$")


def make_conditions(count: int) -> Iterator[CompiledCondition]:
    """Makes so many different conditions: on the model, whether it is 0, 1, and so on."""
    return (CompiledCondition("model", frozenset({str(i)}), negated=False) for i in range(count))


def gather(sheet: Sheet, device: Device, installed: int = NOT_INSTALLED, tags: tuple[str, ...] = ()) -> int:
    """Asks a sheet for a device, with tags by their attributes."""
    return sheet.gather(device, installed, tuple(sheet.find_tag(tag) for tag in tags))


def test_each_condition_has_the_next_bit() -> None:
    """Different conditions have different bits, the lowest first, whatever makes them different."""
    sheet = Sheet()
    different = [
        ask("model", "in", "a"),
        ask("model", "not_in", "a"),
        ask("model", "prefix", "a"),
        ask("model", "contains", "a"),
        ask("model", "in", "a", "b"),
        ask("city", "in", "a"),
        ask("tags.model", "in", "a"),
        ask("os", "in", "1"),
        ask("app", "in", "1"),
        ask("os", "between", "1", "2"),
        ask("os", "outside", "1", "2"),
    ]
    assert [sheet.number(condition) for condition in different] == [1 << i for i in range(len(different))]


def test_bits_of_equal_conditions_are_one() -> None:
    """A condition that is on the sheet keeps its bit, in whatever order or spelling its values come again."""
    sheet = Sheet()
    bit = sheet.number(ask("model", "in", "a", "b"))
    other = sheet.number(ask("model", "in", "c"))
    again = ask("model", "in", " B", "A", "a")
    assert again is not ask("model", "in", "a", "b")
    assert sheet.number(again) == bit
    assert sheet.number(ask("model", "in", "c")) == other
    assert sheet.number(ask("model", "in", "d")) == bit << 2


def test_a_condition_that_is_numbered_again_is_asked_once() -> None:
    """What is remembered stays when a program brings nothing new: a publish of the same costs the checks nothing."""
    sheet, recorder = Sheet(), Recorder()
    condition = CompiledCondition("model", recorder, negated=False)
    device = Device("d-1", "ios", model="a")
    for _ in range(3):
        bit = sheet.number(condition)
        assert gather(sheet, device) == bit
    assert recorder.asked == ["a"]


def test_an_empty_sheet_gives_nothing(make_device: MakeDevice) -> None:
    """Without conditions, nothing is satisfied, and there is room."""
    sheet = Sheet()
    assert gather(sheet, make_device(**SAID), INSTALLED, ("tags.ring",)) == 0
    assert sheet.is_full is False


@pytest.mark.parametrize(
    ("attribute", "value"), [*((name, said) for name, said in SAID.items() if name != "tags"), ("installed", "2")]
)
def test_each_attribute_has_its_own_column(make_device: MakeDevice, attribute: str, value: str) -> None:
    """Of conditions that ask all attributes for one value, only that on the attribute that has it holds."""
    sheet = Sheet()
    values = frozenset({read_text(value), read_version(value)})
    bits = {name: sheet.number(CompiledCondition(name, values, negated=False)) for name in (*ATTRIBUTES, "tags.ring")}
    assert gather(sheet, make_device(**SAID), INSTALLED, ("tags.ring",)) == bits[attribute]


def test_what_holds_is_united(make_device: MakeDevice) -> None:
    """Every condition that holds is in what a device satisfies: several on one attribute, and on several."""
    sheet = Sheet()
    holding = [
        ask("model", "in", "mi 10"),
        ask("model", "prefix", "MI"),
        ask("manufacturer", "not_in", "apple"),
        ask("os", "between", "12", "14.*"),
        ask("installed", "outside", "3", "4"),
        ask("tags.ring", "contains", "et"),
    ]
    failing = [ask("model", "in", "mi 11"), ask("city", "prefix", "r"), ask("tags.ring", "not_in", "beta")]
    expected = sum(sheet.number(condition) for condition in holding)
    for condition in failing:
        sheet.number(condition)
    assert gather(sheet, make_device(**SAID), INSTALLED, ("tags.ring",)) == expected


@pytest.mark.parametrize("said", [None, "", " \t\u3000"])
@pytest.mark.parametrize("op", ["in", "not_in", "contains", "prefix"])
@pytest.mark.parametrize("attribute", ["model", "manufacturer", "city", "region", "country", "locale"])
def test_absent_and_blank_texts_satisfy_nothing(attribute: str, op: str, said: str | None) -> None:
    """A text that is absent, empty or blank has no bits, those of negated conditions included."""
    sheet = Sheet()
    sheet.number(ask(attribute, op, "a"))
    assert gather(sheet, Device(**{"id": "d-1", "platform": "ios", attribute: said})) == 0


@pytest.mark.parametrize("said", [None, "", "unknown", "1.2.3.4.5", "65536", " 1"])
@pytest.mark.parametrize("op", ["in", "not_in", "between", "outside"])
@pytest.mark.parametrize("attribute", ["os", "app"])
def test_absent_and_unreadable_versions_satisfy_nothing(attribute: str, op: str, said: str | None) -> None:
    """A version that is absent or cannot be read has no bits, and stops no check."""
    sheet = Sheet()
    sheet.number(ask(attribute, op, "7", "8"))
    assert gather(sheet, Device(**{"id": "d-1", "platform": "ios", attribute: said})) == 0


@pytest.mark.parametrize("op", ["in", "not_in", "contains", "prefix"])
def test_an_absent_network_satisfies_nothing(op: str) -> None:
    """A device that does not name its network has no bits of conditions on it."""
    sheet = Sheet()
    sheet.number(ask("network", op, "wifi"))
    assert gather(sheet, Device("d-1", "ios")) == 0


@pytest.mark.parametrize("tags", [None, {}, {"other": "a"}, {"Ring": "b"}, {"ring": ""}, {"ring": " \u3000"}])
@pytest.mark.parametrize("op", ["in", "not_in", "contains", "prefix"])
def test_absent_and_blank_tags_satisfy_nothing(op: str, tags: dict[str, str] | None) -> None:
    """A device without tags, without this one by its exact name, or with a blank one, has no bits of it."""
    sheet = Sheet()
    sheet.number(ask("tags.ring", op, "a"))
    assert gather(sheet, Device("d-1", "ios", tags=tags), tags=("tags.ring",)) == 0


@pytest.mark.parametrize("op", ["in", "not_in", "between", "outside"])
def test_what_is_not_installed_satisfies_nothing(op: str) -> None:
    """Without an installed version no condition on it holds, the negated ones included."""
    sheet = Sheet()
    sheet.number(ask("installed", op, "7", "8"))
    assert gather(sheet, Device("d-1", "ios"), NOT_INSTALLED) == 0


def test_the_lowest_version_is_installed() -> None:
    """Version 0 has the key 0, which is a fact like any other; only what is below it is not installed."""
    sheet = Sheet()
    is_zero, is_not_one = sheet.number(ask("installed", "in", "0")), sheet.number(ask("installed", "not_in", "1"))
    device = Device("d-1", "ios")
    assert gather(sheet, device, parse_version("0")) == is_zero | is_not_one
    assert gather(sheet, device, parse_version("1")) == 0
    assert gather(sheet, device, parse_version("2")) == is_not_one


def test_an_installed_version_is_no_version_of_the_app() -> None:
    """The three version attributes are asked of what each of them says."""
    sheet = Sheet()
    bits = {name: sheet.number(ask(name, "in", "1")) for name in ("os", "app", "installed")}
    assert gather(sheet, Device("d-1", "ios", os="1", app="2"), parse_version("3")) == bits["os"]
    assert gather(sheet, Device("d-1", "ios", os="2", app="1"), parse_version("3")) == bits["app"]
    assert gather(sheet, Device("d-1", "ios", os="2", app="3"), parse_version("1")) == bits["installed"]


def test_a_tag_has_one_column_by_its_name() -> None:
    """A tag is found by its attribute, under the name by which a device gives it, and is the same one each time."""
    sheet = Sheet()
    name, column = sheet.find_tag("tags.Ring")
    assert name == "Ring"
    assert sheet.find_tag("tags.Ring")[1] is column
    assert sheet.find_tag("tags.tags.Ring")[0] == "tags.Ring"
    assert sheet.find_tag("tags.tags.Ring")[1] is not column
    assert sheet.find_tag("tags.ring")[1] is not column
    assert Sheet().find_tag("tags.Ring")[1] is not column


def test_a_tag_called_as_an_attribute_is_a_tag() -> None:
    """A tag may be called model, and is not the device's model."""
    sheet = Sheet()
    bit = sheet.number(ask("tags.model", "in", "a"))
    assert gather(sheet, Device("d-1", "ios", model="a"), tags=("tags.model",)) == 0
    assert gather(sheet, Device("d-1", "ios", tags={"model": "a"}), tags=("tags.model",)) == bit


def test_only_the_tags_of_the_program_are_gathered() -> None:
    """What other programs of the sheet ask of a device's tags costs this one nothing."""
    sheet = Sheet()
    x, y = sheet.number(ask("tags.x", "in", "a")), sheet.number(ask("tags.y", "in", "a"))
    device = Device("d-1", "ios", tags={"x": "a", "y": "a"})
    assert gather(sheet, device) == 0
    assert gather(sheet, device, tags=("tags.x",)) == x
    assert gather(sheet, device, tags=("tags.y",)) == y
    assert gather(sheet, device, tags=("tags.y", "tags.x")) == x | y


def test_a_column_asks_once() -> None:
    """A text is read, and its conditions are asked, when it is first seen."""
    read: list[str] = []
    recorder = Recorder()
    column = Column(lambda said: read.append(said) or said.upper())
    column.add(CompiledCondition("model", recorder, negated=False), 4)
    assert [column["a"], column["b"], column["a"]] == [4, 4, 4]
    assert read == ["a", "b"]
    assert recorder.asked == ["A", "B"]


def test_a_column_remembers_that_nothing_holds() -> None:
    """A text for which no condition holds is read once as well."""
    read: list[str] = []
    column = Column(read.append)
    column.add(CompiledCondition("model", frozenset(), negated=True), 1)
    assert [column["?"], column["?"]] == [0, 0]
    assert read == ["?"]


def test_what_is_not_said_is_not_read() -> None:
    """None is no text: it is not given to the reader, and holds for nothing."""
    read: list[str] = []
    column = Column(read.append)
    column.add(CompiledCondition("model", frozenset({None}), negated=False), 1)
    column.add(CompiledCondition("model", frozenset(), negated=True), 2)
    assert [column[None], column[None]] == [0, 0]
    assert read == []


def test_a_condition_that_is_added_later_is_seen() -> None:
    """A text that was remembered before a condition came is asked anew."""
    column = Column(str.upper)
    column.add(CompiledCondition("model", frozenset({"A"}), negated=False), 1)
    assert [column["a"], column["b"], column[None]] == [1, 0, 0]
    column.add(CompiledCondition("model", frozenset({"A"}), negated=True), 2)
    assert [column["a"], column["b"], column[None]] == [1, 2, 0]


@pytest.mark.parametrize("attribute", [*(name for name in SAID if name != "tags"), "installed", "tags.ring"])
def test_a_condition_that_is_numbered_later_is_seen(make_device: MakeDevice, attribute: str) -> None:
    """On each attribute, what a device satisfies includes what a program brought after the device's first check."""
    sheet, device = Sheet(), make_device(**SAID)
    assert gather(sheet, device, INSTALLED, ("tags.ring",)) == 0
    first = sheet.number(CompiledCondition(attribute, frozenset(), negated=True))
    assert gather(sheet, device, INSTALLED, ("tags.ring",)) == first
    second = sheet.number(CompiledCondition(attribute, Recorder(), negated=False))
    assert gather(sheet, device, INSTALLED, ("tags.ring",)) == first | second


def test_a_column_is_emptied_when_it_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """At its bound a column begins anew, and what it says stays right."""
    monkeypatch.setattr(module, "MAX_REMEMBERED", 3)
    column = Column(str.upper)
    column.add(CompiledCondition("model", frozenset("ACEG"), negated=False), 8)
    sizes = []
    for text in "abcdefgabc":
        assert column[text] == (8 if text in "aceg" else 0)
        sizes.append(len(column))
    assert sizes == [1, 2, 3, 1, 2, 3, 1, 2, 3, 1]


def test_a_column_remembers_8192_texts() -> None:
    """The bound itself: as many texts as that, and no text more."""
    column = Column(str.upper)
    column.add(CompiledCondition("model", frozenset({"ONE MORE"}), negated=False), 1)
    for i in range(8_192):
        column[str(i)]
    assert len(column) == module.MAX_REMEMBERED == 8_192
    assert column["one more"] == 1
    assert column == {"one more": 1}


def test_what_is_gathered_is_right_after_columns_were_emptied(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that makes up models, versions and tags changes nothing for the others, and fills no memory."""
    monkeypatch.setattr(module, "MAX_REMEMBERED", 2)
    sheet = Sheet()
    asked = [ask("model", "in", "MI 10"), ask("os", "in", "14.*"), ask("tags.t", "in", "a"), ask("city", "not_in", "x")]
    bits = [sheet.number(condition) for condition in asked]
    device = Device("d-1", "ios", model="MI 10", city=" Paris", os="14.1", tags={"t": "a"})
    for i in range(5):
        made_up = Device("d-2", "ios", model=f"made up {i}", os=f"9.{i}", tags={"t": str(i)})
        assert gather(sheet, made_up, i, ("tags.t",)) == 0
        assert gather(sheet, device, tags=("tags.t",)) == sum(bits)
    assert max(len(column) for column in (*sheet._columns, *sheet._tags.values())) <= 2


def test_a_sheet_is_full_with_1024_conditions() -> None:
    """The bound itself: one less is not full, and equal conditions count once."""
    sheet = Sheet()
    *most, last = make_conditions(1_024)
    for condition in most * 2:
        sheet.number(condition)
    assert sheet.is_full is False
    assert sheet.number(last) == 1 << 1_023
    assert sheet.is_full is True
    assert module.MAX_CONDITIONS == 1_024


def test_a_full_sheet_takes_no_further_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program gets the current sheet while it has room; then the next one begins, and is the current one."""
    monkeypatch.setattr(module, "MAX_CONDITIONS", 3)
    binder = Binder()
    first = binder.open_sheet()
    *most, last = make_conditions(3)
    for condition in most:
        first.number(condition)
    assert binder.open_sheet() is first
    first.number(last)
    second = binder.open_sheet()
    assert second is not first
    assert second.is_full is False
    assert binder.open_sheet() is second
    assert second.number(last) == 1


def test_binders_share_no_sheet() -> None:
    """Two binders number apart."""
    assert Binder().open_sheet() is not Binder().open_sheet()


def test_a_program_is_numbered_whole(monkeypatch: pytest.MonkeyPatch, compile_releases: Compile) -> None:
    """A program that came while there was room has all of its conditions on one sheet, beyond its bound too."""
    monkeypatch.setattr(module, "MAX_CONDITIONS", 2)
    binder = Binder()
    stack = [{"id": name, "when": [{"attribute": "model", "op": "in", "values": [name]}]} for name in "abcde"]
    program = compile_releases(*stack, sheet=binder.open_sheet())
    assert program.needed == (1, 2, 4, 8, 16)
    assert program.sheet.is_full is True
    for name in "abcde":
        release, _ = evaluate(program, Device("d-1", "ios", model=name), NOT_INSTALLED, 0)
        assert release is not None
        assert release.id == name


def test_a_sheet_goes_away_with_its_last_program(monkeypatch: pytest.MonkeyPatch, compile_releases: Compile) -> None:
    """A full sheet is held by its programs alone, and needs no collector to go away."""
    monkeypatch.setattr(module, "MAX_CONDITIONS", 1)
    binder = Binder()
    sheet = binder.open_sheet()
    release = {"when": [{"attribute": "tags.x", "op": "in", "values": ["a"]}]}
    one, other = compile_releases(release, sheet=sheet), compile_releases({}, release, sheet=sheet)
    evaluate(one, Device("d-1", "ios", tags={"x": "a"}), NOT_INSTALLED, 0)
    columns = [weakref.ref(column) for column in (*sheet._columns, *sheet._tags.values())]
    assert binder.open_sheet() is not sheet
    del sheet, one
    assert None not in [column() for column in columns]
    del other
    assert {column() for column in columns} == {None}


def test_a_binder_keeps_its_current_sheet() -> None:
    """The sheet that has room is there for the next program, whatever became of those on it."""
    binder = Binder()
    column = weakref.ref(binder.open_sheet().find_tag("tags.x")[1])
    assert column() is not None
    assert binder.open_sheet().find_tag("tags.x")[1] is column()


@given(
    before=st.lists(conditions, max_size=6),
    after=st.lists(conditions, max_size=6),
    asked=st.lists(st.tuples(devices, installed_keys), min_size=1, max_size=3),
)
def test_what_is_gathered_is_what_each_condition_says(
    *,
    make_device: MakeDevice,
    read_fact: ReadFact,
    before: list[Json],
    after: list[Json],
    asked: list[tuple[Json, int]],
) -> None:
    """One look-up an attribute gives what asking condition after condition gives, whenever they were numbered."""
    sheet, numbered = Sheet(), dict[CompiledCondition, int]()
    for batch in (before, after):
        for one in batch:
            condition = ask(one["attribute"], one["op"], *one["values"])
            numbered[condition] = sheet.number(condition)
        tags = tuple({condition.attribute for condition in numbered if condition.attribute not in ATTRIBUTES})
        for members, installed in asked * 2:
            device = make_device(**members)
            holding = [bit for one, bit in numbered.items() if one.holds(read_fact(one.attribute, device, installed))]
            assert gather(sheet, device, installed, tags) == sum(holding)


@given(first=stacks, second=stacks, asked=st.lists(st.tuples(devices, installed_keys), min_size=1, max_size=3))
def test_programs_on_one_sheet_decide_as_on_sheets_of_their_own(
    *,
    compile_releases: Compile,
    make_device: MakeDevice,
    first: list[Json],
    second: list[Json],
    asked: list[tuple[Json, int]],
) -> None:
    """What else is on a sheet, and when it came there, changes no decision."""
    sheet = Sheet()
    shared: list[CompiledProgram] = []
    for stack in (first, second):
        shared.append(compile_releases(*stack, sheet=sheet))
        for program, alone in zip(shared, [compile_releases(*first), compile_releases(*second)], strict=False):
            for members, installed in asked:
                device = make_device(**members)
                assert evaluate(program, device, installed, 0) == evaluate(alone, device, installed, 0)
