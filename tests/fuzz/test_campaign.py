"""Tests of a run: blocks that can be had again, findings that are kept, processes, and the command line."""

from functools import partial
from pathlib import Path

import orjson
import pytest

from tests.fuzz.__main__ import main
from tests.fuzz.campaign import BLOCK, MAX_FINDINGS, Tally, judge_again, report, run_block, run_blocks
from tests.fuzz.dice import Dice
from tests.fuzz.finding import BrokenError, Finding, read_parts


class Coin:
    """A target whose inputs break a promise, or raise, where they have a byte too many of one kind."""

    name = "coin"

    def __init__(self, folder: Path, limit: int = 250) -> None:
        del folder
        self.limit = limit
        self.blocks: list[int] = []

    def begin(self, block: int) -> None:
        self.blocks.append(block)

    def make(self, dice: Dice) -> list[bytes]:
        return [bytes([dice.below(256)])]

    def judge(self, parts: list[bytes], dice: Dice) -> str:
        dice.chance(0.5)
        if parts[0][0] >= self.limit:
            if parts[0][0] % 2:
                raise BrokenError("odd")
            raise ValueError("even")
        return "heads" if parts[0][0] % 2 else "tails"

    def close(self) -> None:
        """Nothing to end."""


def test_block(tmp_path: Path) -> None:
    """A block is the same each time, and every input that breaks a promise or raises is told with its place."""
    first, again = (run_block(Coin(tmp_path), 7, 3, 500) for _ in range(2))
    assert (first.outcomes, first.findings) == (again.outcomes, again.findings)
    assert {finding.problem.splitlines()[-1] for finding in first.findings} == {"odd", "ValueError: even"}
    assert first.outcomes.total() + len(first.findings) == first.inputs == 500
    assert run_block(Coin(tmp_path), 7, 4, 500).outcomes != first.outcomes


def test_finding_in_a_file(tmp_path: Path) -> None:
    """A finding's file has its input, byte for byte, and it is judged again from there."""
    finding = Finding("coin", 7, 3, 12, [bytes(range(256)), b""], "odd")
    path = finding.write(tmp_path)
    assert read_parts(path) == finding.parts
    assert orjson.loads(path.read_bytes())["problem"] == "odd"
    odd, even, fine = (
        Finding("coin", 7, 3, i, [bytes([value])], "?").write(tmp_path) for i, value in enumerate([251, 250, 1])
    )
    assert judge_again(Coin(tmp_path), odd) == "odd"
    assert judge_again(Coin(tmp_path), even).endswith("ValueError: even\n")
    assert judge_again(Coin(tmp_path), fine) == ""


def test_blocks_over_processes(tmp_path: Path) -> None:
    """A run over processes gives what its blocks give, whichever process has which."""
    noted: list[int] = []

    def note(total: Tally, seconds: float) -> None:
        assert seconds > 0
        noted.append(len(total.findings))

    total = run_blocks(partial(Coin, limit=256), 7, BLOCK + 10, 2, note, begin=4)
    expected = Tally()
    for block, size in ((4, BLOCK), (5, 10)):
        expected.add(run_block(Coin(tmp_path, 256), 7, block, size))
    assert (total.inputs, total.outcomes, noted) == (expected.inputs, expected.outcomes, [])
    told = report("coin", 7, total, 2.0)
    assert (told["inputs"], told["findings"], told["outcomes"]) == (BLOCK + 10, 0, dict(total.outcomes))


def test_run_that_breaks_on_everything_ends() -> None:
    """A run ends soon where everything breaks."""
    total = run_blocks(partial(Coin, limit=0), 7, 100 * BLOCK, 1, lambda *_: None)
    assert MAX_FINDINGS <= len(total.findings) < 100 * BLOCK


@pytest.mark.parametrize("target", ["lane", "documents"])
def test_command(target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command runs one block of a target, prints and writes the report, and says how it went."""
    path = tmp_path / "report.json"
    assert main([target, "--seed", "3", "--block", "1", "--json", str(path), "--findings", str(tmp_path / "f")]) == 0
    told = orjson.loads(path.read_bytes())
    assert orjson.loads(capsys.readouterr().out) == told
    assert (told["target"], told["seed"], told["inputs"], told["findings"]) == (target, 3, BLOCK, 0)
    assert sum(told["outcomes"].values()) == BLOCK
    assert not (tmp_path / "f").exists()


def test_command_again(capsys: pytest.CaptureFixture[str]) -> None:
    """The command judges the input of a file again."""
    path = Path(__file__).parent / "corpus" / "documents" / "trial-twice.json"
    assert main(["documents", "--again", str(path)]) == 0
    assert capsys.readouterr().out == "every promise is kept\n"
