"""Exit codes: scripts branch on them."""

import pytest

from cli.exit import CommandError, Exit
from cli.main import main


def test_codes_keep_their_meaning() -> None:
    """The numbers are those of the command's help."""
    assert {code.name: int(code) for code in Exit} == {
        "OK": 0,
        "FAILED": 1,
        "USAGE": 2,
        "REFUSED": 3,
        "UNREACHABLE": 4,
        "UNVERIFIED": 5,
    }
    told = "0 done, 1 failed, 2 wrong usage or settings, 3 refused, 4 unreachable, 5 not to be believed"
    assert told in " ".join((main.help or "").split())


def test_an_error_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A message goes to standard error behind the command's name; the code of one error is not another's."""
    error = CommandError("expected a, got b", Exit.REFUSED)
    error.show()
    assert capsys.readouterr() == ("", "graywave: expected a, got b\n")
    assert (error.exit_code, CommandError("x").exit_code) == (3, 1)
