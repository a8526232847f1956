"""Talking to a publisher: documents there and back, whose token is asked for, and what may stand in a name."""

from pathlib import Path

import pytest

from cli import publishing
from cli.exit import CommandError, Exit
from cli.home import Home
from cli.http import Answer
from cli.publishing import Publisher, open_publisher
from tests.cli.running import Running

TEA = "2021000000000002"
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def publisher(running: Running) -> Publisher:
    """The publisher of the running Graywave."""
    return open_publisher(Home(running.data), None, None)


def test_a_document_there_and_back(publisher: Publisher) -> None:
    """What is read can be put back over its revision; a dry run changes nothing."""
    document, revision = publisher.get(TEA)
    assert document is not None
    assert document["program"] == TEA
    assert int(revision) > 0
    publisher.put(document | {"poll_after": 61}, revision, dry_run=True)
    assert publisher.get(TEA) == (document, revision)
    assert publisher.put(document, revision).body["distributed"] is True


def test_one_that_there_is_none(publisher: Publisher) -> None:
    """A program without a document has none, and no revision."""
    assert publisher.get("2021000000000404") == (None, "")


def test_all_that_there_are(publisher: Publisher) -> None:
    """Each document that is published is listed once, with its kind."""
    listed = publisher.list_names()
    assert ("program", TEA) in listed
    assert len(set(listed)) == len(listed)


@pytest.mark.parametrize("body", [{}, {"documents": 7}, {"documents": [7]}, {"documents": [{"kind": "program"}]}])
def test_list_that_is_none(body: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """What answers and lists no documents is no publisher, rather than one without documents."""
    monkeypatch.setattr(publishing, "ask", lambda *_, **__: Answer(200, "", body))
    with pytest.raises(CommandError, match="expected a list of documents, got another answer"):
        Publisher("http://127.0.0.1:1", "token").list_names()


@pytest.mark.parametrize("is_there", [True, False])
def test_what_edges_do_not_have_yet(monkeypatch: pytest.MonkeyPatch, capsys: Capture, *, is_there: bool) -> None:
    """Whoever has published and waits for devices is told where these wait for Redis."""
    monkeypatch.setattr(publishing, "ask", lambda *_, **__: Answer(200, "1", {"distributed": is_there}))
    Publisher("http://127.0.0.1:1", "token").put({"program": TEA}, "")
    warning = "warning: kept, but edges do not have it yet: the publisher's log says why\n"
    assert capsys.readouterr().err == ("" if is_there else warning)


@pytest.mark.parametrize("revision", ["", "0"])
def test_somebody_was_faster(publisher: Publisher, revision: str) -> None:
    """A revision that is not the one there, or none where one is, is refused as a conflict."""
    document, _ = publisher.get(TEA)
    assert document is not None
    with pytest.raises(CommandError, match="conflict: ") as caught:
        publisher.put(document, revision)
    assert caught.value.exit_code == Exit.REFUSED


@pytest.mark.parametrize(
    ("program", "path"),
    [("../../healthz", "..%2F..%2Fhealthz"), ("a?dry_run=1", "a%3Fdry_run%3D1"), ("a#b", "a%23b"), ("é", "%C3%A9")],
)
def test_a_name_stays_a_name(program: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program's name cannot lead to another address, nor bring a query along."""
    asked: list[str] = []

    def note(_method: str, url: str, **_: object) -> Answer:
        asked.append(url)
        return Answer(404, "", None)

    monkeypatch.setattr(publishing, "ask", note)
    assert Publisher("http://127.0.0.1:1/", "token").get(program) == (None, "")
    assert asked == [f"http://127.0.0.1:1/v1/documents/program/{path}"]


def test_another_token(running: Running, tmp_path: Path) -> None:
    """A token of one's own and an address need no data folder; a wrong one is refused."""
    (tmp_path / "token").write_text("a-token-that-is-wrong\n")
    publisher = open_publisher(Home(tmp_path), f"http://{running.publisher}/", tmp_path / "token")
    with pytest.raises(CommandError, match="unauthorized: ") as caught:
        publisher.get(TEA)
    assert caught.value.exit_code == Exit.REFUSED


def test_nothing_runs(tmp_path: Path) -> None:
    """Where nothing runs, that is said, and not that there is no token."""
    with pytest.raises(CommandError, match="nothing runs in") as caught:
        open_publisher(Home(tmp_path), None, None)
    assert caught.value.exit_code == Exit.UNREACHABLE


@pytest.mark.parametrize(
    ("token", "message"),
    [
        (None, "No such file"),
        (b"\xff", "can't decode"),
        (b"two\nlines", "expected one line in "),
        (b"a\x01", "one line"),
    ],
)
def test_a_token_that_cannot_be_read(tmp_path: Path, token: bytes | None, message: str) -> None:
    """A token file that is absent or holds none is the caller's mistake."""
    if token is not None:
        (tmp_path / "token").write_bytes(token)
    with pytest.raises(CommandError) as caught:
        open_publisher(Home(tmp_path), "http://127.0.0.1:1", None)
    assert caught.value.message.startswith("cannot read the publisher's token: ")
    assert message in caught.value.message
    assert caught.value.exit_code == Exit.USAGE
