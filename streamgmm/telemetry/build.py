"""Metrics, board and routes of one daemon, on a registry of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, ProcessCollector

from streamgmm.telemetry.board import Board
from streamgmm.telemetry.http import Route, routes
from streamgmm.telemetry.metrics import Metrics
from streamgmm.telemetry.observer import Telemetry, version_info

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from streamgmm.records import Json
    from streamgmm.supervisor import Stuck


def build(
    *,
    config: Mapping[str, Json],
    target_rate: float,
    topics: Sequence[str],
    sinks: Mapping[str, str],
    members: Sequence[str],
    fields: Sequence[str],
    stuck: Callable[[], Sequence[Stuck]],
) -> tuple[Telemetry, dict[str, Route]]:
    """Return what is told of every report, and what a server answers with.

    Parameters
    ----------
    config
        With its secrets already redacted: /status shows it.
    target_rate, topics, sinks, members, fields
        See Metrics.
    stuck
        The parts past their deadline at the moment of asking.
    """
    versions = version_info()
    board = Board(version=versions["version"], config=config, sinks=sinks, stuck=stuck)
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    metrics = Metrics(
        registry=registry,
        target_rate=target_rate,
        topics=topics,
        sinks=list(sinks),
        members=members,
        fields=fields,
        version_info=versions,
        ready=lambda: board.health().ready,
    )
    return Telemetry(metrics, board), routes(registry, board)
