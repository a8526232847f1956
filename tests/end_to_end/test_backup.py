"""The drill of docs/operations.md, with real processes: a publisher, its keys and its Redis are lost, and come back."""

import os
import shutil
from pathlib import Path

from pyrage import x25519  # type: ignore[import-untyped]  # it comes without types

from tests.end_to_end.town import Town, eventually, run_graywave


def test_publisher_comes_back_from_a_backup(tmp_path: Path) -> None:
    """From a backup, and from an edge for what was published since, a lost publisher goes on; edges follow it."""
    town = Town(tmp_path)
    settings = {**os.environ, **town.set_publisher()}
    key = x25519.Identity.generate()
    (tmp_path / "age.key").write_text(str(key))
    kept = town.keys["demo"] / "root.json"
    (tmp_path / "root.json").write_bytes(kept.read_bytes())
    try:
        with town.start_host(tmp_path / "a") as host:
            town.publish("1.0.0.0")
            backup = tmp_path / "demo.age"
            done = run_graywave("backup", backup, "--recipient", key.to_public(), environ=settings)
            assert done.returncode == 0, done
            town.publish("2.0.0.0")
            eventually(host.is_ready)
            eventually(lambda: host.is_told_everywhere("2.0.0.0"))
            town.publisher.kill_all()
            town.redis.kill()
            for lost in (tmp_path / "publisher", tmp_path / "redis"):
                shutil.rmtree(lost)
            for name in ("root.json", "offer.key", "channel.key"):  # the packager's key was never there
                (town.keys["demo"] / name).unlink()
            (tmp_path / "redis").mkdir()
            town.redis.start()

            done = run_graywave("restore", backup, "--identity", tmp_path / "age.key", environ=settings)
            assert (done.returncode, done.stderr) == (0, ""), done
            assert done.stdout.startswith("workspace demo is back at 1-1, as of ")
            words = ["--edge", tmp_path / "a", "--root", tmp_path / "root.json", "--redis", town.redis.url]
            assert run_graywave("republish", *words).returncode == 0
            town.start_publisher()
            eventually(lambda: "was learnt from redis" in town.publisher.read_log())
            assert host.is_told_everywhere("2.0.0.0")
            town.publish("3.0.0.0")
            eventually(lambda: host.is_told_everywhere("3.0.0.0"))
            assert host.read_status()["workspaces"]["demo"]["revision"] == 3
    finally:
        town.close()
