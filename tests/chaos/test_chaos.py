from __future__ import annotations

import sys

import pytest
from chaos.judge import judge, memory, table
from chaos.plan import SHORT
from chaos.play import play

pytestmark = [pytest.mark.chaos, pytest.mark.integration, pytest.mark.timeout(240)]


def failures(title, checks):
    sys.stdout.write(table(title, checks) + "\n")
    return [check for check in checks if not check.ok]


def test_kills_lose_nothing(tmp_path):
    seen = play(SHORT, tmp_path)
    assert not failures("short chaos run", judge(seen))


def test_an_undisturbed_run_stops_growing(tmp_path):
    seen = play(SHORT.undisturbed(), tmp_path)
    assert not failures("short undisturbed run", [*judge(seen), memory(seen)])
