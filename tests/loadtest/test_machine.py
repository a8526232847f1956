"""The machine is described by what matters to a figure."""

import os

from loadtest.machine import describe_machine, parse_model


def test_the_processor_is_named() -> None:
    """The model's name is taken from cpuinfo, where there is one."""
    assert parse_model("processor\t: 0\nmodel name\t: AMD EPYC: 9\n") == "AMD EPYC: 9"
    assert parse_model("Hardware\t: none\n") == "unknown"


def test_the_description_has_cores_and_versions() -> None:
    """Cores, kernel, Python and the libraries on the path of a check."""
    machine = describe_machine()
    assert machine["cores"] == len(os.sched_getaffinity(0))
    assert machine["description"].startswith(f"{machine['cores']} cores (")
    assert {"aiohttp", "uvloop", "httptools", "orjson"} <= machine["libraries"].keys()
