"""The short form runs with all tests; `make chaos` sets STREAMGMM_CHAOS=full and shows what was seen."""

from __future__ import annotations

import os
import sys
import time
from contextlib import nullcontext

import pytest
from chaos.judge import judge, memory, table
from chaos.plan import FULL, SHORT
from chaos.play import play

LONG = os.environ.get("STREAMGMM_CHAOS") == "full"
PLAN = FULL if LONG else SHORT

pytestmark = [pytest.mark.chaos, pytest.mark.integration, pytest.mark.timeout(300 + 2 * PLAN.seconds)]


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


def test_an_undisturbed_run_stops_growing(run):
    assert not run(PLAN.undisturbed(), memory)
