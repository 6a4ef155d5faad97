from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from streamgmm.records import STAGES, Contact, EngineStatus, Report, TopicPartition, Version
from streamgmm.supervisor import DEADLINES, LONGEST_WAIT, Supervisor

P0, P1 = TopicPartition("t", 0), TopicPartition("t", 1)
ENGINE = EngineStatus(Version(1, 0), "serving", 10, 0, -9.0, 0.01, 0.01, 1.0, 1.0, False, {}, ())


class Watch:
    """A supervisor with a clock that is moved by hand, and what it did in the end."""

    def __init__(self, **settings):
        self.now = 1000.0
        self.ended = []
        self.supervisor = Supervisor(
            last_resort=lambda: self.ended.append("exit"),
            now=lambda: self.now,
            dump=lambda: self.ended.append("stacks"),
            **settings,
        )

    def report(self, offset, lag, *, after=1.0, tp=P0, **changes):
        self.now += after
        self.supervisor.progress(Report(assigned=(tp,), next_offsets={tp: offset}, lag={tp: lag}, **changes))

    def parts(self):
        return [s.part for s in self.supervisor.stuck()]


@pytest.fixture
def watch():
    return Watch(stall_deadline=20.0, grace=10.0)


def test_every_stage_of_the_loop_has_a_deadline_shorter_than_the_turn():
    assert set(STAGES) <= set(DEADLINES)
    assert all(DEADLINES[stage] < DEADLINES["turn"] for stage in STAGES)


def test_a_longer_deadline_for_a_part_makes_the_turn_longer():
    watch = Watch(deadlines={"deliver": 5000.0})
    watch.report(5, 0)
    with watch.supervisor.busy("deliver"):
        watch.now += 5001.0
        assert watch.parts() == ["deliver"]


@pytest.mark.parametrize("part", sorted(DEADLINES.keys() - {"turn"}))
def test_a_part_past_its_deadline_is_named(watch, part):
    with watch.supervisor.busy(part):
        watch.now += DEADLINES[part]
        assert watch.parts() == []
        watch.now += 1.0
        (stuck,) = watch.supervisor.stuck()
        assert (stuck.part, stuck.seconds) == (part, DEADLINES[part] + 1.0)
    assert watch.parts() == []


def test_a_part_that_fails_is_not_at_work_any_more(watch):
    with pytest.raises(RuntimeError), watch.supervisor.busy("deliver"):
        raise RuntimeError
    watch.now += 1e6
    assert watch.parts() == []


def test_the_same_part_inside_itself_counts_from_the_outer_one(watch):
    with watch.supervisor.busy("commit"):
        watch.now += 40.0
        with watch.supervisor.busy("commit"):
            watch.now += 40.0
        assert watch.parts() == ["commit"]


def test_threads_are_told_apart(watch):
    entered, leave = threading.Event(), threading.Event()

    def refit():
        with watch.supervisor.busy("refit"):
            entered.set()
            leave.wait(120)

    thread = threading.Thread(target=refit)
    thread.start()
    assert entered.wait(120)
    with watch.supervisor.busy("refit"):
        pass
    watch.now += DEADLINES["refit"] + 1.0
    assert watch.parts() == ["refit"]
    leave.set()
    thread.join()
    assert watch.parts() == []


def test_the_verdict_changes_nothing(watch):
    watch.report(5, 3)
    with watch.supervisor.busy("score"):
        later = watch.now + 1000.0
        assert watch.supervisor.verdict(later) == watch.supervisor.verdict(later)
        assert watch.parts() == []


def test_a_loop_that_does_not_come_round_is_seen_even_between_parts(watch):
    watch.now += 1e6
    assert watch.parts() == []  # it has not begun
    watch.report(5, 0)
    watch.now += DEADLINES["turn"] + 1.0
    assert watch.parts() == ["turn"]
    watch.supervisor.finished()
    assert watch.parts() == []


def test_an_idle_topic_is_not_dead(watch):
    for _ in range(1000):
        watch.report(5, 0)
    assert watch.parts() == []


def test_a_partition_that_moves_slowly_is_not_stuck(watch):
    for offset in range(100):
        watch.report(offset, 10_000, after=4.0)
    assert watch.parts() == []


def test_a_partition_whose_records_wait_is_stuck_while_its_sibling_moves(watch):
    for offset in range(22):
        watch.now += 1.0
        watch.supervisor.progress(
            Report(assigned=(P0, P1), next_offsets={P0: 5, P1: offset}, lag={P0: 3, P1: 100}),
        )
    (stuck,) = watch.supervisor.stuck()
    assert stuck.part == "partition t/0"
    assert stuck.seconds == 21.0
    watch.report(6, 2)
    assert watch.parts() == []


def test_time_in_which_a_sink_held_the_loop_counts_little(watch):
    watch.report(5, 3)
    watch.report(5, 3, after=19.0)
    assert watch.parts() == []
    assert watch.supervisor._waiting[P0].seconds == LONGEST_WAIT


def test_a_partition_that_waits_for_a_stuck_sink_has_the_time_the_sink_has(watch):
    for _ in range(100):
        with watch.supervisor.busy("deliver"):
            watch.report(5, 3)
    assert watch.parts() == []


@pytest.mark.parametrize("part", ["deliver", "commit"])
def test_while_brokers_are_silent_a_restart_would_not_help(watch, part):
    """And when they answer again, what waited for them has its whole deadline before it."""
    lost = Contact(0.0, lost=True)
    with watch.supervisor.busy(part):
        for _ in range(200):
            watch.report(5, 3, contact=lost, after=10.0)
            watch.supervisor.check()
        assert watch.parts() == []
        watch.report(5, 3, contact=Contact(1.0))
        watch.supervisor.check()
        assert watch.parts() == []
        watch.now += DEADLINES[part] + 1.0
        assert watch.parts() == [part]
    assert watch.ended == []


def test_records_that_wait_for_silent_brokers_are_no_stall(watch):
    for _ in range(1000):
        watch.report(5, 3, contact=Contact(0.0, lost=True))
    assert watch.parts() == []
    assert watch.ended == []


def test_a_partition_that_went_and_came_back_starts_anew(watch):
    for _ in range(19):
        watch.report(5, 3)
    watch.report(9, 3, tp=P1)
    watch.report(5, 3)
    watch.report(5, 3)
    assert watch.parts() == []


def test_the_last_resort_comes_after_the_grace(watch, caplog):
    with watch.supervisor.busy("deliver"):
        watch.now += DEADLINES["deliver"] + 1.0
        watch.supervisor.check()
        assert "deliver is stuck" in caplog.text
        watch.now += 9.0
        watch.supervisor.check()
        assert watch.ended == []
        watch.now += 1.0
        watch.supervisor.check()
    assert watch.ended == ["stacks", "exit"]
    assert "exiting: deliver is stuck" in caplog.text


def test_a_part_that_recovers_in_the_grace_is_forgiven(watch):
    with watch.supervisor.busy("deliver"):
        watch.now += DEADLINES["deliver"] + 1.0
        watch.supervisor.check()
    watch.now += 5.0
    watch.supervisor.check()
    with watch.supervisor.busy("deliver"):
        watch.now += DEADLINES["deliver"] + 1.0
        watch.supervisor.check()
        assert watch.ended == []


def test_words_that_do_not_get_out_do_not_keep_us(monkeypatch):
    """A full pipe blocks whoever writes to it: the exit comes all the same."""
    monkeypatch.setattr("streamgmm.supervisor.LAST_LOG_SECONDS", 0.1)
    release = threading.Event()
    ended = []
    now = [0.0]
    supervisor = Supervisor(
        last_resort=lambda: ended.append("exit"), now=lambda: now[0], grace=0.0, dump=lambda: release.wait(120)
    )
    with supervisor.busy("poll"):
        now[0] = 1000.0
        supervisor.check()
    release.set()
    assert ended == ["exit"]


def test_start_stop_and_stop_again(watch):
    watch.supervisor.stop(1.0)
    watch.supervisor.start()
    watch.supervisor.stop(5.0)
    watch.supervisor.stop(5.0)
    assert not [t for t in threading.enumerate() if t.name == "supervisor"]


HUNG = """
import os, threading, time
from streamgmm.supervisor import Supervisor
supervisor = Supervisor(last_resort=lambda: os._exit(1), now=time.monotonic, deadlines={"deliver": 0.1}, grace=0.0)
supervisor.start()
def a_sink_that_hangs():
    with supervisor.busy("deliver"):
        threading.Event().wait()
a_sink_that_hangs()
"""


def test_a_hung_process_names_the_part_shows_its_stack_and_exits_1():
    done = subprocess.run([sys.executable, "-c", HUNG], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "deliver is stuck" in done.stderr
    assert "a_sink_that_hangs" in done.stderr


HOLDING_THE_LOCK = """
import re, time
from streamgmm import supervisor
supervisor.LAST_LOG_SECONDS = 0.1
deadlines = dict.fromkeys(supervisor.COMPUTING, 0.5)
watch = supervisor.Supervisor(last_resort=lambda: None, now=time.monotonic, deadlines=deadlines, grace=0.1)
watch.start()
time.sleep(0.2)
print("started", flush=True)
with watch.busy("score"):
    re.match("(a+)+$", "a" * 60 + "b")  # for years, with the interpreter lock held
"""


def test_a_hang_that_holds_the_interpreter_lock_is_ended():
    done = subprocess.run(
        [sys.executable, "-c", HOLDING_THE_LOCK], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.stdout == "started\n"
    assert done.returncode == 1
    assert "Timeout" in done.stderr
    assert "in <module>" in done.stderr


def test_an_orderly_stop_disarms_the_last_resort():
    code = HOLDING_THE_LOCK.replace('with watch.busy("score"):', "watch.stop(5.0)\nif True:")
    code = code.replace('re.match("(a+)+$", "a" * 60 + "b")', 'time.sleep(3.0); print("alive")')
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stdout) == (0, "started\nalive\n")
