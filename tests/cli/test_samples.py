"""`graywave samples`: what a running host has kept of what was asked."""

import json
from pathlib import Path

from tests.cli.conftest import Run
from tests.end_to_end.town import eventually

FERRY = "2021000000000001"


def test_samples_are_exported(graywave: Run, tmp_path: Path) -> None:
    """What was asked of any worker is in the file, without the ids of device and user, for its owner alone."""
    path = tmp_path / "samples.json"
    facts = ("--device", "id=sampled-device", "--device", "user=sampled-user", "--device", "tags.plan=test-of-samples")

    def look() -> bool:
        assert graywave("check", f"{FERRY}=1.0.0", *facts).exit_code == 0
        result = graywave("samples", "--json", path)
        assert result.exit_code == 0, result.output
        told = json.loads(path.read_bytes())["samples"]
        assert result.stdout == f"{len(told)} samples in {path}\n"
        return any(sample["device"].get("tags") == {"plan": "test-of-samples"} for sample in told)

    eventually(look)
    assert path.stat().st_mode & 0o777 == 0o600
    text = path.read_text("utf-8")
    assert "sampled-device" not in text
    assert "sampled-user" not in text
    (sample, *_) = (one for one in json.loads(text)["samples"] if one["device"].get("tags"))
    assert sample["programs"] == {FERRY: "1.0.0"}
    assert len(sample["device"]["user"]) == 32


def test_a_workspace_that_is_none(graywave: Run, tmp_path: Path) -> None:
    """A workspace that is not served is named, and no file is written."""
    result = graywave("samples", "--json", tmp_path / "samples.json", "--workspace", "shop")
    assert result.exit_code == 3
    assert "expected a workspace that is served here, got 'shop'" in result.stderr
    assert not (tmp_path / "samples.json").exists()


def test_a_file_that_cannot_be_written(graywave: Run, tmp_path: Path) -> None:
    """Where the file cannot be written, that is said."""
    result = graywave("samples", "--json", tmp_path / "nowhere" / "samples.json")
    assert (result.exit_code, result.stderr.startswith("graywave: cannot write ")) == (1, True)
