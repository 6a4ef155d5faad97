"""Everything that watches one daemon, made from plain values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from streamgmm import __version__
from streamgmm.telemetry.board import Board
from streamgmm.telemetry.http import routes
from streamgmm.telemetry.metrics import Metrics
from streamgmm.telemetry.observer import Telemetry, version_info

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from streamgmm.records import Json
    from streamgmm.supervisor import Stuck
    from streamgmm.telemetry.http import Route


def build(
    *,
    config: Mapping[str, Json],
    target_rate: float,
    topics: Sequence[str],
    sinks: Sequence[str],
    members: Sequence[str],
    fields: Sequence[str],
    stuck: Callable[[], Sequence[Stuck]],
) -> tuple[Telemetry, dict[str, Route]]:
    """Return the observer of a daemon's reports, and what HTTP shows of them.

    `config` has its secrets already redacted; `stuck` names the parts past their deadline.
    """
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    board = Board(version=__version__, config=config, sinks=sinks, stuck=stuck)
    metrics = Metrics(
        registry=registry,
        target_rate=target_rate,
        topics=topics,
        sinks=sinks,
        members=members,
        fields=fields,
        version_info=version_info(),
        ready=lambda: board.health().ready,
    )
    return Telemetry(metrics, board), routes(registry, board)
