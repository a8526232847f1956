"""Settings: read from file and environment, wrong ones refused before anything is opened."""

from pathlib import Path

import pytest

from publisher import PREFIX, SECTION, Settings
from publisher.settings import MIN_TOKEN_CHARS, check_token
from settings import SettingsError, read

REQUIRED = {
    "WORKSPACE": "demo",
    "REDIS": "unix:///run/redis.sock",
    "FOLDER": "/var/lib/graywave",
    "ROOT": "/etc/root.json",
    "OFFER_KEY": "/etc/offer.key",
    "CHANNEL_KEY": "/etc/channel.key",
}
TOKEN = "t" * MIN_TOKEN_CHARS


def read_environment(**variables: str) -> Settings:
    """Settings from these variables and the required ones."""
    given = {f"{PREFIX}{name}": value for name, value in {**REQUIRED, **variables}.items()}
    return read(Settings, SECTION, None, given, PREFIX)


def test_defaults() -> None:
    """What an operator does not set has a documented value."""
    settings = read_environment(TOKEN=TOKEN)
    assert settings.listen == "127.0.0.1:8082"
    assert settings.offer_days == 30
    assert settings.folder == Path("/var/lib/graywave")
    assert settings.offer_keys == ("/etc/offer.key",)
    assert (settings.files, settings.unchecked_files) == ("", False)


def test_several_offer_keys_are_named() -> None:
    """Where the root wants several signatures, the addresses of the keys stand side by side."""
    address = "pkcs11:token=hsm;object=offer?pin-source=/etc/pin"
    assert read_environment(TOKEN=TOKEN, OFFER_KEY=f"/a.key, env:OFFER,{address}").offer_keys == (
        "/a.key",
        "env:OFFER",
        address,
    )


def test_secrets_are_not_shown() -> None:
    """Neither the token nor the address of Redis, which may hold a password, is in a repr."""
    settings = read_environment(TOKEN=TOKEN, REDIS="redis://:geheim@host")
    assert TOKEN not in repr(settings)
    assert "geheim" not in repr(settings)


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({}, "expected either token or token_file, got both or neither"),
        ({"TOKEN": TOKEN, "TOKEN_FILE": "/t"}, "expected either token or token_file, got both or neither"),
        ({"TOKEN": "short"}, "expected a token of at least 16 characters, got 5"),
        ({"TOKEN": TOKEN, "LISTEN": "8082"}, "expected an address like 127.0.0.1:8080, got '8082'"),
        ({"TOKEN": TOKEN, "LISTEN": "host:65536"}, "expected an address like 127.0.0.1:8080, got 'host:65536'"),
        ({"TOKEN": TOKEN, "LISTEN": "[::zz]:1"}, "expected an address like 127.0.0.1:8080, got '[::zz]:1'"),
        (
            {"TOKEN": TOKEN, "FILES": "cdn.example"},
            "expected files like https://cdn.example, without a slash at the end, got 'cdn.example'",
        ),
        ({"TOKEN": TOKEN, "OFFER_KEY": " , "}, "expected offer_key to name at least one key, got none"),
        ({"TOKEN": TOKEN, "OFFER_DAYS": "0"}, "expected an integer from 1 to 366, got '0'"),
    ],
)
def test_wrong_settings_are_refused(variables: dict[str, str], problem: str) -> None:
    """A wrong setting is named, with what was expected."""
    with pytest.raises(SettingsError) as caught:
        read_environment(**variables)
    assert str(caught.value).endswith(problem)


def test_token_is_long_enough() -> None:
    """A token of the least length is taken, a shorter one is not and is not shown."""
    check_token(TOKEN)
    with pytest.raises(ValueError, match=r"^expected a token of at least 16 characters, got 15$"):
        check_token(TOKEN[1:])
