"""The device that a command asks for: its facts as NAME=VALUE, made into the SDK's Device."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from cli.exit import CommandError, Exit
from container import Device

_Function = TypeVar("_Function", bound=Callable[..., Any])
_TAG = "tags."


def take_device(function: _Function) -> _Function:
    """Gives a command the option --device, as the argument `device`."""

    def make(ctx: click.Context, _param: click.Parameter, facts: tuple[str, ...]) -> Device:
        return read_device(f"graywave-{ctx.info_name}", facts)

    return click.option(
        "--device", multiple=True, metavar="NAME=VALUE", callback=make,
        help="A fact of the device, such as os=14; several times for several.",
    )(function)  # fmt: skip


def read_device(default_id: str, facts: tuple[str, ...]) -> Device:
    """Returns an Android device with these facts.

    Raises:
        CommandError: one is not NAME=VALUE, or there is no such fact.
    """
    given = dict(_split(fact) for fact in facts)
    tags = {name.removeprefix(_TAG): value for name, value in given.items() if name.startswith(_TAG)}
    plain = {name: value for name, value in given.items() if not name.startswith(_TAG)}
    known = [name for name in Device.__dataclass_fields__ if name != "tags"]
    unknown = [name for name in plain if name not in known]
    if unknown:
        message = f"expected --device with one of {', '.join(known)}, tags.<name>, got {unknown[0]!r}"
        raise CommandError(message, Exit.USAGE)
    return Device(**{"id": default_id, "platform": "android", **plain}, tags=tags)


def tell_device(device: Device) -> dict[str, Any]:
    """Returns a device's facts as a question has them; what is empty is left out."""
    facts = {name: getattr(device, name) for name in Device.__dataclass_fields__}
    return {name: dict(value) if name == "tags" else value for name, value in facts.items() if value}


def _split(fact: str) -> tuple[str, str]:
    name, equals, value = fact.partition("=")
    if not equals or not name:
        raise CommandError(f"expected --device NAME=VALUE, got {fact!r}", Exit.USAGE)
    return name, value
