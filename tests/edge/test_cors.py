"""Which pages may see answers, and what may be set as an origin."""

import pytest

from edge.cors import Cors, check_origins

APP = "https://app.example"


def test_named_origins() -> None:
    """A named origin is told by its name, another nothing; the lane's bytes are aiohttp's fields."""
    cors = Cors([APP, "http://localhost:8000"])
    fields = cors.find_fields(APP)
    assert fields["Access-Control-Allow-Origin"] == APP
    assert cors.find_lines(APP.encode()) == b"".join(
        b"\r\n%b: %b" % (name.encode(), value.encode()) for name, value in fields.items()
    )
    for other in ("", "https://app.example.evil", "null", "*"):
        assert not cors.find_fields(other)
        assert not cors.find_lines(other.encode())


def test_any_origin() -> None:
    """With * every page may see answers; who is no page is told nothing of it."""
    cors = Cors(["*", APP])
    assert cors.find_fields("null")["Access-Control-Allow-Origin"] == "*"
    assert b"Access-Control-Allow-Origin: *" in cors.find_lines(b"null")
    assert cors.find_fields(APP)["Access-Control-Allow-Origin"] == APP
    assert not cors.find_fields("")
    assert not cors.find_lines(b"")


def test_preflight_says_more() -> None:
    """What a page may send is told to a browser that asks, and to nobody else."""
    cors = Cors([APP])
    more = cors.find_fields(APP, is_preflight=True).keys() - cors.find_fields(APP).keys()
    assert more == {"Access-Control-Allow-Methods", "Access-Control-Allow-Headers", "Access-Control-Max-Age"}
    assert not cors.find_fields("https://other.example", is_preflight=True)


@pytest.mark.parametrize(
    "origin", ["app.example", "https://app.example/", "https://App.example", "", "https://a\r\nX: y"]
)
def test_what_is_no_origin(origin: str) -> None:
    """An origin that no browser sends would let nobody in, unnoticed."""
    check_origins(["*", APP, "http://[::1]:8000", "capacitor://localhost"])
    with pytest.raises(
        ValueError, match=r"^expected an origin like https://app\.example, in small letters, or \*, got "
    ):
        check_origins([origin])
