"""The short form runs with all tests; `make chaos` sets STREAMGMM_CHAOS=full and shows what was seen."""

from __future__ import annotations

import gc
import os
import socket
import sys
import time
from contextlib import nullcontext, suppress

import pytest
from chaos.judge import judge, memory, table
from chaos.plan import CLUSTER, FULL, SHORT
from chaos.play import play

LONG = os.environ.get("STREAMGMM_CHAOS") == "full"
PLAN = FULL if LONG else SHORT

pytestmark = [pytest.mark.chaos, pytest.mark.integration, pytest.mark.timeout(1800 + 4 * PLAN.seconds)]


@pytest.fixture
def run(tmp_path, capsys):
    started = time.monotonic()

    def show(text):
        with capsys.disabled() if LONG else nullcontext():
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()

    def one(plan, *more):
        show(f"\n{plan}")
        seen = play(plan, tmp_path, lambda text: show(f"{time.monotonic() - started:7.1f} s  {text}"))
        checks = [*judge(seen), *(check(seen) for check in more)]
        show(table(checks))
        return [check for check in checks if not check.ok]

    return one


def test_kills_lose_nothing(run):
    assert not run(PLAN)


@pytest.mark.skipif(not LONG, reason="three brokers: by make chaos")
@pytest.mark.usefixtures("dropped_sockets")
def test_brokers_that_die_lose_nothing_either(run):
    assert not run(CLUSTER)


@pytest.fixture
def dropped_sockets():
    """Close what kafka-python drops without closing: the sockets of its vain attempts to reach a dead broker."""
    yield
    for dropped in (o for o in gc.get_objects() if isinstance(o, socket.socket)):
        with suppress(OSError):
            if dropped.getsockname()[0] == "0.0.0.0":
                dropped.close()


def test_an_undisturbed_run_stops_growing(run):
    assert not run(PLAN.undisturbed(), memory)
