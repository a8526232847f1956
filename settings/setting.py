"""One setting: a field of a settings dataclass, its kind, bounds and default; where its value stands is not known.

A field's metadata may hold `help` (a sentence), `min` and `max` (of a number, inclusive) and `secret` (True).
"""

import dataclasses
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Union, get_args, get_origin, get_type_hints

from settings.kind import KINDS, Kind

MASK = "***"


class Secret(str):
    """Text that is what it is, and shows as *** in a repr."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(MASK)


class Row(NamedTuple):
    """A line of the reference: what the setting is called, takes, is by default, and does."""

    name: str
    type: str
    default: str
    help: str


@dataclass(frozen=True, slots=True)
class Setting:
    """A field of a settings dataclass, ready to read values for it."""

    name: str
    kind: Kind
    optional: bool
    field: "dataclasses.Field[Any]"

    @property
    def is_required(self) -> bool:
        """Whether there is no default."""
        return self.field.default is dataclasses.MISSING and self.field.default_factory is dataclasses.MISSING

    @property
    def is_secret(self) -> bool:
        """Whether the value must not be shown."""
        return bool(self.field.metadata.get("secret"))

    @property
    def words(self) -> str:
        """What a value has to be: `an integer from 1 to 64`."""
        low, high = self.field.metadata.get("min"), self.field.metadata.get("max")
        if low is not None and high is not None:
            return f"{self.kind.words} from {low} to {high}"
        if low is not None:
            return f"{self.kind.words} of at least {low}"
        return self.kind.words if high is None else f"{self.kind.words} of at most {high}"

    def default(self) -> Any:
        """Returns the default, which there must be."""
        if self.field.default_factory is not dataclasses.MISSING:
            return self._protect(self.field.default_factory())
        return self._protect(self.field.default)

    def from_toml(self, value: Any, base: Path) -> Any:
        """Returns the value of a TOML key; relative paths start from `base`. Raises ValueError with a message."""
        return self._read(value, lambda: self.kind.from_toml(value, base))

    def from_text(self, text: str) -> Any:
        """Returns the value of a variable; an empty one is None where that is allowed. Raises ValueError."""
        if self.optional and not text:
            return None
        return self._read(text, lambda: self.kind.from_text(text))

    def row(self) -> Row:
        """Returns the setting's line of the reference."""
        default = "required" if self.is_required else _show(self.default())
        return Row(self.name, self.words, default, self.field.metadata.get("help", ""))

    def _read(self, given: Any, read: Callable[[], Any]) -> Any:
        try:
            value = read()
        except (ValueError, TypeError):
            raise self._refusal(given) from None
        if not self._is_within(value):
            raise self._refusal(given)
        return self._protect(value)

    def _is_within(self, value: Any) -> bool:
        low, high = self.field.metadata.get("min"), self.field.metadata.get("max")
        return (low is None or value >= low) and (high is None or value <= high)

    def _refusal(self, given: Any) -> ValueError:
        return ValueError(f"expected {self.words}, got {MASK if self.is_secret else repr(given)}")

    def _protect(self, value: Any) -> Any:
        return Secret(value) if self.is_secret and isinstance(value, str) else value


def list_settings(cls: type) -> tuple[Setting, ...]:
    """Returns the settings of a dataclass in their order.

    Raises:
        TypeError: a field is of a type that settings cannot have: a programmer's error.
    """
    hints = get_type_hints(cls)
    return tuple(_build(cls, field, hints[field.name]) for field in dataclasses.fields(cls))


def _build(cls: type, field: "dataclasses.Field[Any]", hint: Any) -> Setting:
    plain, optional = _split_optional(hint)
    if plain not in KINDS:
        raise TypeError(f"{cls.__name__}.{field.name}: expected a type that settings can have, got {hint}")
    return Setting(field.name, KINDS[plain], optional, field)


def _split_optional(hint: Any) -> tuple[Any, bool]:
    if get_origin(hint) not in (Union, types.UnionType):
        return hint, False
    parts = [part for part in get_args(hint) if part is not types.NoneType]
    return (parts[0], True) if len(parts) == 1 else (hint, False)


def _show(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, (str, Path)):
        return repr(value) if isinstance(value, str) else repr(str(value))
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={part}" for name, part in value.items()) or "empty"
    return ", ".join(value) or "empty" if isinstance(value, tuple) else str(value)
