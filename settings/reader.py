"""Reads one frozen dataclass from a TOML file and the environment, all problems at once; no setting is known here.

The environment wins over the file, and the file over the field's default; both are checked even where one is hidden.
"""

import difflib
import tomllib
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from settings.errors import SettingsError
from settings.setting import Row, Setting, list_settings

_Settings = TypeVar("_Settings")


def read(cls: type[_Settings], section: str, toml: Path | None, environ: Mapping[str, str], prefix: str) -> _Settings:
    """Returns an instance of the dataclass `cls`.

    Args:
        cls: a frozen dataclass; its fields are str, int, float, bool, Path, tuple[str, ...], Mapping[str, Path],
            Mapping[str, str], or one of these or None; its `__post_init__` may raise ValueError.
        section: the file's table, `edge`, and the only one in it.
        toml: the file; relative paths in it start from its folder.
        environ: variables; those that start with `prefix` must all be settings.
        prefix: `GRAYWAVE_EDGE_`, before the field's name in capitals.

    Raises:
        SettingsError: names every problem, and where it stands, a line each.
        TypeError: `cls` has a field that no setting can be.
    """
    settings = {setting.name: setting for setting in list_settings(cls)}
    problems: list[str] = []
    values = {setting.name: setting.default() for setting in settings.values() if not setting.is_required}
    if toml is not None:
        values |= _read_file(toml, section, settings, problems)
    values |= _read_environment(environ, prefix, settings, problems)
    problems += [
        f"{prefix}{name.upper()}: required, and set neither there nor as {section}.{name} in a file"
        for name in settings
        if name not in values
    ]
    return _build(cls, section, values, problems)


def describe(cls: type) -> tuple[Row, ...]:
    """Returns (name, type, default, help) of each setting, for the documents and the command's help."""
    return tuple(setting.row() for setting in list_settings(cls))


def _build(cls: type[_Settings], section: str, values: Mapping[str, Any], problems: list[str]) -> _Settings:
    if not problems:
        try:
            return cls(**values)
        except ValueError as error:  # from __post_init__, about settings that do not go together
            problems.append(f"{section}: {error}")
    raise SettingsError(tuple(problems))


def _read_file(toml: Path, section: str, settings: Mapping[str, Setting], problems: list[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in _load_section(toml, section, problems).items():
        where = f"{toml}: {section}.{name}"
        if name not in settings:
            problems.append(f"{where}: unknown setting{_suggest(name, settings)}")
            continue
        read_value = partial(settings[name].from_toml, value, toml.parent)
        values[name] = _attempt(where, read_value, problems)
    return values


def _load_section(toml: Path, section: str, problems: list[str]) -> dict[str, Any]:
    try:
        document = tomllib.loads(toml.read_text("utf-8"))
    except OSError as error:
        problems.append(f"{toml}: expected a file that can be read: {error.strerror}")
        return {}
    except ValueError as error:  # not TOML, or not UTF-8
        problems.append(f"{toml}: expected TOML: {error}")
        return {}
    problems += [f"{toml}: {name}: unknown, expected the table [{section}]" for name in document if name != section]
    table = document.get(section, {})
    if not isinstance(table, dict):
        problems.append(f"{toml}: {section}: expected a table, got {table!r}")
        return {}
    return table


def _read_environment(
    environ: Mapping[str, str], prefix: str, settings: Mapping[str, Setting], problems: list[str]
) -> dict[str, Any]:
    by_variable = {prefix + name.upper(): setting for name, setting in settings.items()}
    values: dict[str, Any] = {}
    for variable in sorted(name for name in environ if name.startswith(prefix)):
        setting = by_variable.get(variable)
        if setting is None:
            problems.append(f"{variable}: unknown setting{_suggest(variable, by_variable)}")
            continue
        values[setting.name] = _attempt(variable, partial(setting.from_text, environ[variable]), problems)
    return values


def _attempt(where: str, read_value: Callable[[], Any], problems: list[str]) -> Any:
    try:
        return read_value()
    except ValueError as error:
        problems.append(f"{where}: {error}")
        return None  # never seen: where there is a problem, nothing is built


def _suggest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f", did you mean {near[0]}" if near else ""
