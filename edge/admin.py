"""The admin listener of a host, in the syncer: health, readiness, status, metrics, versions that devices report to run.

It answers while workers are busy. It reads what workers copied into their pages and what the syncer knows; nothing here
is for devices, nothing secret.
"""

import mmap
import os
import time
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Final

from aiohttp import web

from edge.audience import Opened
from edge.cache import Cache
from edge.errors import CacheError
from edge.guard import Guard
from edge.metrics import FIELDS, read_page
from edge.steward import WindowsState
from edge.syncer import State
from edge.tally import Tally

# A worker copies its counters ten times a second; one that has not for this long is not counted on.
FRESH_S = 5
# A worker that has not applied a row for this long does not follow.
LAG_S = 1.0
_GAUGES = (
    "broken_audiences",
    "keyless_windows",
    "connections",
    "held",
    "cursor",
    "ready",
    "load_us",
    "proof_keys_problem",
    "place_database_problem",
    "busy_percent",
)
_PROVEN = "proven: a user id counts where a token of the back end names it"
_UNPROVEN = "unproven: user ids are taken as devices say them, and trials give nothing"
_NOT_METRICS = ("beat", "pid", "pulse_ms")
_STATE_GAUGES: Final[Mapping[str, Callable[[State], int]]] = {
    "epoch": lambda state: state.position.epoch,
    "revision": lambda state: state.position.revision,
    "refused_documents": lambda state: len(state.list_refused()),
    "waiting_documents": lambda state: len(state.list_waiting()),
    "broken_audience_documents": lambda state: state.table.broken,
    "source_problem": lambda state: int(bool(state.problem)),
    "head_expires_timestamp_seconds": lambda state: state.head_expires,
    "windows_closed": lambda state: int(not state.windows.is_open),
    "windows_waiting_for_hosts": lambda state: len(state.windows.stand.needed) if state.windows.stand else 0,
    "windows_put_back": lambda state: state.windows.put_back,
    "root": lambda state: state.root.number,
    "root_problem": lambda state: int(bool(state.root_problem)),
    "root_expires_timestamp_seconds": lambda state: state.root.expires,
}


class Host:
    """What is known of a host, for its operator. `now` is of the monotonic clock, as the workers' beats are.

    Args:
        pages: the workers' counters.
        states: the workspaces' states by name.
        cache: the host's edge.db.
        tally: what devices report to run.
        proven: the workspaces whose users have to be proven.
    """

    def __init__(
        self,
        pages: Sequence[mmap.mmap],
        states: Mapping[str, State],
        cache: Cache,
        tally: Tally,
        proven: Container[str] = (),
    ) -> None:
        self._pages = pages
        self._states = states
        self._cache = cache
        self._tally = tally
        self._proven = proven
        self.is_draining = False
        self._lagging: dict[int, float] = {}

    def read_workers(self) -> list[dict[str, int]]:
        """Returns each worker's counters, as it copied them last."""
        return [{"index": index, **read_page(page)} for index, page in enumerate(self._pages)]

    def explain_unready(self, now: float) -> list[str]:
        """Returns why this host should get no devices now; empty where it should."""
        reasons = ["draining"] if self.is_draining else []
        reasons += [f"workspace {name} has no rules" for name, state in self._states.items() if not state.position[1]]
        try:
            last = self._cache.read_last_row()
        except CacheError as error:
            return [*reasons, str(error)]
        for worker in self.read_workers():
            if not worker["ready"] or worker["beat"] < now - FRESH_S:
                reasons.append(f"worker {worker['index']} does not serve")
            elif self._has_lagged(worker, last, now):
                reasons.append(f"worker {worker['index']} is at row {worker['cursor']} of {last}")
        return reasons

    def _has_lagged(self, worker: Mapping[str, int], last: int, now: float) -> bool:
        """Being a few milliseconds behind is how changes arrive; staying behind is a fault."""
        if worker["cursor"] >= last:
            self._lagging.pop(worker["index"], None)
            return False
        return now - self._lagging.setdefault(worker["index"], now) > LAG_S

    def tell_status(self, now: float) -> dict[str, object]:
        """Returns everything that is known, for people and scripts."""
        unready = self.explain_unready(now)
        return {
            "syncer": {"pid": os.getpid()},
            "ready": not unready,
            "unready": unready,
            "users": {name: _PROVEN if name in self._proven else _UNPROVEN for name in self._states},
            "row": self._read_row(),
            "disk_problem": self._cache.problem,
            "workers": self.read_workers(),
            "workspaces": {name: _tell_state(state, now) for name, state in self._states.items()},
        }

    def _read_row(self) -> int | None:
        """The last row of edge.db, which a worker's cursor comes to; None where it cannot be read."""
        try:
            return self._cache.read_last_row()
        except CacheError:
            return None

    def tell_versions(self, workspace: str, program: str) -> dict[str, object] | None:
        """Returns how many devices report to run which version of a program; None where the workspace is not served."""
        return self._tally.tell(workspace, program) if workspace in self._states else None

    def tell_metrics(self) -> str:
        """Returns the counters in the Prometheus text format."""
        lines = []
        workers = self.read_workers()
        for field in FIELDS:
            if field in _NOT_METRICS:
                continue
            kind = "gauge" if field in _GAUGES else "counter"
            name = f"graywave_edge_{field}" if kind == "gauge" else f"graywave_edge_{field}_total"
            lines.append(f"# TYPE {name} {kind}")
            lines += [f'{name}{{worker="{worker["index"]}"}} {worker[field]}' for worker in workers]
        lines.append("# TYPE graywave_edge_disk_problem gauge")
        lines.append(f"graywave_edge_disk_problem {int(bool(self._cache.problem))}")
        for field, read in _STATE_GAUGES.items():
            lines.append(f"# TYPE graywave_edge_{field} gauge")
            lines += [
                f'graywave_edge_{field}{{workspace="{name}"}} {read(state)}' for name, state in self._states.items()
            ]
        return "\n".join(lines) + "\n"


def _tell_state(state: State, now: float) -> dict[str, object]:
    return {
        "epoch": state.position.epoch,
        "revision": state.position.revision,
        "source": str(state.standing),
        "problem": state.problem,
        "looked_s_ago": round(now - state.looked_at, 1) if state.looked_at else None,
        "head_expires": state.head_expires,
        "root": {
            "number": state.root.number,
            "epoch": state.root.epoch,
            "expires": state.root.expires,
            "problem": state.root_problem,
        },
        "windows": _tell_windows(state.windows, now),
        "refused": state.list_refused(),
        "waiting": state.list_waiting(),
        "audiences": {name: _tell_audience(opened) for name, opened in sorted(state.table.opened.items())},
    }


def _tell_audience(opened: Opened) -> dict[str, object]:
    """An audience as a host has it; with a problem it holds nobody."""
    document = opened.document
    return {
        "epoch": document.epoch,
        "revision": document.revision,
        "users": document.count,
        "patterns": len(document.patterns),
        "removed": document.removed,
        "problem": opened.problem,
    }


def _tell_windows(windows: WindowsState, now: float) -> dict[str, object]:
    """How the windows stand: `problem` says why this host admits nobody now, `waiting_for` who has to come back."""
    stand = windows.stand
    return {
        "host": windows.host,
        "admits": windows.is_open,
        "problem": windows.problem,
        "asked_s_ago": round(now - windows.beat_at, 1) if windows.beat_at else None,
        "generation": stand.generation if stand else 0,
        "waiting_for": list(stand.needed) if stand else [],
        "hosts": sorted(stand.hosts) if stand else [],
        "members": stand.windows if stand else {},
    }


def make_admin(host: Host, guard: Guard, protected: Iterable[web.RouteDef] = ()) -> web.Application:
    """Returns the admin listener's application; `protected` are the routes that only who has the token may ask."""

    async def health(_request: web.Request) -> web.Response:
        return web.json_response({"ok": True})

    async def ready(_request: web.Request) -> web.Response:
        reasons = host.explain_unready(time.monotonic())
        status = HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK
        return web.json_response({"ready": not reasons, "unready": reasons}, status=status)

    async def status(_request: web.Request) -> web.Response:
        return web.json_response(host.tell_status(time.monotonic()))

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(text=host.tell_metrics(), content_type="text/plain")

    async def versions(request: web.Request) -> web.Response:
        told = host.tell_versions(request.query.get("workspace", ""), request.query.get("program", ""))
        if told is None:
            return web.json_response({"error": "expected ?workspace=, one served here"}, status=HTTPStatus.NOT_FOUND)
        return web.json_response(told)

    app = web.Application()
    app.add_routes(
        [
            web.get("/healthz", health),
            web.get("/readyz", ready),
            web.get("/status", status),
            web.get("/metrics", metrics),
            web.get("/versions", versions),
            *map(guard.protect, protected),
        ]
    )
    return app
