"""Writes the `decisions` and the `answer`, or the `flags`, of every vector anew: `python -m contract.generate`.

It also lays the files out, so that a vector reads like a page and a change to it like a sentence. Read the difference
before you keep it: an answer that changed is a promise to devices that changed.
"""

import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

from contract.oracle import answer, decide, tell_flags
from contract.vector import encode_body, list_files, list_switch_files

Json = dict[str, Any]

MAX_LINE = 116


def regenerate(entry: Json) -> Json:
    """Returns a vector with what the oracle says; a refused one as it is."""
    if "status" in entry:
        return entry
    if "context" in entry:
        told = tell_flags(entry["documents"], entry["context"], entry["now"], entry.get("lists", {}))
        return {**entry, "flags": told}
    question = json.loads(encode_body(entry))
    lists = entry.get("lists", {})
    decisions = {
        document["program"]: decide(document, question, document["program"], entry["now"], lists)
        for document in entry["documents"]
        if document["program"] in question["programs"]
    }
    whole = answer(entry["documents"], entry["revision"], entry["root"], question, entry["now"], lists)
    return {**entry, "decisions": decisions, "answer": whole}


def render(value: Any, indent: int = 0, before: int = 0) -> str:
    """Returns JSON text: on one line where it fits, else with short members side by side.

    Args:
        value: what to write.
        indent: the blanks in front of its last line.
        before: the characters that stand before it on its first line.
    """
    flat = json.dumps(value, ensure_ascii=False)
    if indent + before + len(flat) <= MAX_LINE or not isinstance(value, dict | list) or not value:
        return flat
    inner = indent + 1
    if isinstance(value, dict):
        names = [json.dumps(name, ensure_ascii=False) + ": " for name in value]
        lines = [name + render(one, inner, len(name)) for name, one in zip(names, value.values(), strict=True)]
        return _enclose("{", lines, "}", indent)
    return _enclose("[", [render(one, inner) for one in value], "]", indent)


def render_file(entries: list[Json]) -> str:
    """Returns the text of a file of vectors, one that the oracle has answered."""
    return render([regenerate(entry) for entry in entries]) + "\n"


def _enclose(opening: str, members: list[str], closing: str, indent: int) -> str:
    pad = " " * (indent + 1)
    lines = [pad + members[0]]
    for before, member in pairwise(members):
        if "\n" in before + member or len(lines[-1]) + len(member) + 2 > MAX_LINE:
            lines.append(pad + member)
        else:
            lines[-1] += ", " + member
    separated = [line + "," for line in lines[:-1]] + lines[-1:]
    return "\n".join([opening, *separated, " " * indent + closing])


def _rewrite(path: Path) -> None:
    text = render_file(json.loads(path.read_text()))
    if text != path.read_text():
        path.write_text(text)
        sys.stdout.write(f"{path.name} changed\n")


if __name__ == "__main__":
    for file in (*list_files(), *list_switch_files()):
        _rewrite(file)
