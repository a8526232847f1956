"""A bounded memory: what was longest not asked for goes where there is too much. What is remembered is not known."""

from collections import OrderedDict
from typing import Generic, TypeVar

_Name = TypeVar("_Name")
_Value = TypeVar("_Value")


class Memory(Generic[_Name, _Value]):
    """Values by name, the last `limit` of those that were asked for."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._values: OrderedDict[_Name, _Value] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def find(self, name: _Name) -> _Value | None:
        """Returns the value of a name, None where it is not remembered."""
        value = self._values.get(name)
        if value is not None:
            self._values.move_to_end(name)
        return value

    def keep(self, name: _Name, value: _Value) -> _Value:
        """Remembers a value, and returns it."""
        self._values[name] = value
        if len(self._values) > self._limit:
            self._values.popitem(last=False)
        return value

    def clear(self) -> None:
        """Forgets all."""
        self._values.clear()
