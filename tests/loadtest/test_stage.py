"""The stage: real servers, documents that are really published, and what is read back of them."""

import asyncio
from pathlib import Path

import pytest

from loadtest.change import make_probe, make_question
from loadtest.client import ask_one
from loadtest.errors import ServerError
from loadtest.program import make_documents, name_program
from loadtest.stage import Edge, Stage, await_revision, find_redis, make_environment, read_root_number, run_command

SEED = 7


def test_documents_are_published_with_offers(stage: Stage) -> None:
    """What is read back from Redis is what was sent, with genuine signatures, offers, and the workspace's revision."""
    truth = stage.read_truth([name_program(number) for number in range(20)])
    assert truth.revision == stage.read_revision() >= 21
    assert truth.root == read_root_number(stage.keys) == 1
    for document in make_documents(20, SEED):
        published = truth.documents[document["program"]]
        assert published["offers"]["install"].keys() == document["packages"].keys()
        assert [one["when"] for one in published["releases"]] == [one["when"] for one in document["releases"]]
        assert {one["signature"].count(".") for one in published["packages"].values()} == {2}


def test_an_edge_answers_from_what_was_published(stage: Stage, edge: Edge) -> None:
    """Once an edge has the revision, it answers from it, and says which process does."""
    await_revision(edge, make_question(SEED), stage.read_revision())
    answer = asyncio.run(ask_one(edge.port, make_question(SEED)))
    assert answer.status == 200
    assert make_probe(SEED, 0)["program"].encode() in answer.body
    assert Path(f"/proc/{edge.worker}").exists()
    assert edge.worker != edge.server.pid


def test_an_edge_that_lags_is_given_up(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    """A revision that never comes is not waited for without end."""
    monkeypatch.setattr("loadtest.stage.ARRIVAL_TIMEOUT_S", 0.0)
    with pytest.raises(ServerError, match="lane did not reach revision 1000000: 200"):
        await_revision(edge, make_question(SEED), 1_000_000)


def test_a_restarted_edge_says_how_long_loading_took(stage: Stage) -> None:
    """An edge of the same name starts from the edge.db of the one before, and its worker has timed the loading."""
    first = stage.start_edge("again", has_lane=False)
    first.server.stop()
    second = stage.start_edge("again", has_lane=False)
    assert second.data == first.data
    assert second.read_load_ms() > 0
    second.server.stop()


def test_settings_of_the_user_do_not_reach_the_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable of ours in the user's shell changes no measurement."""
    monkeypatch.setenv("GRAYWAVE_EDGE_WORKERS", "7")
    environment = make_environment({"GRAYWAVE_EDGE_LANE": "true"})
    assert [name for name in environment if name.startswith("GRAYWAVE_")] == ["GRAYWAVE_EDGE_LANE"]


def test_a_command_that_fails_is_shown() -> None:
    """The message has the command, its code and what it said."""
    with pytest.raises(ServerError, match=r"graywave keys new ended with code 2: (?s:.)*--workspace"):
        run_command("keys", "new", "/nowhere/keys")


def test_a_redis_is_found() -> None:
    """There is a server to start, from the PATH or from the wheel."""
    assert Path(find_redis()).exists()
