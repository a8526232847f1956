"""The Lua scripts of this package, by their file names; what they do is told in each."""

from importlib.resources import files


def read_script(name: str) -> str:
    """Returns the text of a script."""
    return files("channel").joinpath(name).read_text("utf-8")
