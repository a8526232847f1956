"""What a bench says: how far it has come, on standard error; its table, its report, and the exit status at the end."""

import sys
from pathlib import Path
from typing import Any

import orjson


def tell(text: str) -> None:
    """Says how far the run has come; the table alone goes to standard output."""
    sys.stderr.write(f"bench: {text}\n")
    sys.stderr.flush()


def deliver(report: dict[str, Any], table: str, path: Path | None) -> int:
    """Writes the report, with its `failures`, to a file if there is one, prints the table; returns the exit status."""
    if path:
        path.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    sys.stdout.write(table + "\n")
    for failure in report["failures"]:
        tell(f"broken promise: {failure}")
    return 1 if report["failures"] else 0
