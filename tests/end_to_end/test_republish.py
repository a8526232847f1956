"""Redis emptied and the publisher gone: what one edge has kept leads another one, new, to right answers."""

import shutil
from pathlib import Path

from tests.end_to_end.town import Town, eventually, run_graywave


def test_edge_refills_redis_for_another(tmp_path: Path) -> None:
    """From edge A's folder Redis gets back what was published, and edge B, with an empty folder, answers with it."""
    town = Town(tmp_path)
    try:
        town.publish("1.2.0.0")
        with town.start_host(tmp_path / "a") as first:
            eventually(first.is_ready)
            eventually(lambda: first.is_told_everywhere("1.2.0.0"))
            eventually(lambda: first.read_status()["workspaces"]["demo"]["problem"] == "")
        town.publisher.kill_all()
        town.redis.kill()
        shutil.rmtree(tmp_path / "redis")
        (tmp_path / "redis").mkdir()
        town.redis.start()
        with town.start_host(tmp_path / "b") as second:
            eventually(lambda: "redis is empty" in second.read_status()["workspaces"]["demo"]["problem"])
            for workspace, keys in town.keys.items():
                words = ["--edge", tmp_path / "a", "--root", keys / "root.json", "--redis", town.redis.url]
                done = run_graywave("republish", *words)
                assert (done.returncode, done.stderr) == (0, ""), workspace
                assert done.stdout.startswith("redis has 1 documents at 1-1; the head is good until 2")
            eventually(second.is_current)
            assert second.is_told_everywhere("1.2.0.0")
            eventually(lambda: second.read_status()["workspaces"]["demo"]["problem"] == "")
    finally:
        town.close()
