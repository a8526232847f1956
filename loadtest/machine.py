"""What the figures were measured on: a benchmark without its machine says nothing."""

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

Json = dict[str, Any]

LIBRARIES = ("aiohttp", "uvloop", "httptools", "orjson", "msgspec", "xxhash", "redis")


def parse_model(cpuinfo: str) -> str:
    """Returns the processor's name from the text of /proc/cpuinfo, `unknown` where it has none."""
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return "unknown"


def describe_machine() -> Json:
    """Returns processor, system and library versions; `description` says the first of them in a line."""
    model = parse_model(Path("/proc/cpuinfo").read_text())
    cores = len(os.sched_getaffinity(0))
    return {
        "description": f"{cores} cores ({model}), Linux {platform.release()}, Python {platform.python_version()}",
        "processor": model,
        "cores": cores,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES},
        "load_before": os.getloadavg()[0],
    }
