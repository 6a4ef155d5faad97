from __future__ import annotations

import io
import json
import logging
import sys
import threading

import pytest

from streamgmm.records import Event
from streamgmm.telemetry.log import KINDS, REPEAT_SECONDS, REPEATS, RepeatFilter, configure, log_events


class Log:
    def __init__(self):
        self.stream = io.StringIO()
        self.now = 0.0

    def configure(self, style="text", level="info"):
        configure(level, style, stream=self.stream, now=lambda: self.now)
        return logging.getLogger("streamgmm.test")

    def lines(self):
        return self.stream.getvalue().splitlines()


@pytest.fixture
def log():
    root = logging.getLogger()
    before = root.handlers[:], root.level, {n: logging.getLogger(n).level for n in ("kafka", "numba")}
    yield Log()
    root.handlers[:], level, chatty = before
    root.setLevel(level)
    for name, was in chatty.items():
        logging.getLogger(name).setLevel(was)


def test_text(log):
    log.configure().warning("went %s", "wrong", extra={"fields": {"sink": "a b", "n": 3, "x": 0.1234567891}})
    (line,) = log.lines()
    moment, rest = line.split(" ", 1)
    assert moment.endswith("Z")
    assert rest == 'WARNING streamgmm.test went wrong sink="a b" n=3 x=0.123457'


def test_json(log):
    logger = log.configure("json")
    logger.info("went %s", "well", extra={"fields": {"n": 3, "rate": float("nan"), "message": "forged"}})
    try:
        int("broken")
    except ValueError:
        logger.exception("caught")
    first, second = map(json.loads, log.lines())
    assert (first["level"], first["logger"], first["message"], first["n"]) == ("info", "streamgmm.test", "went well", 3)
    assert first["rate"] is None
    assert "ValueError: invalid literal" in second["traceback"]


def test_no_value_forges_a_second_line(log):
    logger = log.configure()
    logger.info("key %s", "a\n2026 ERROR b", extra={"fields": {"key": "x\ny", "quote": '"'}})
    assert len(log.lines()) == 1
    assert "\\n" in log.lines()[0]


def test_text_shows_the_traceback(log):
    try:
        int("broken")
    except ValueError:
        log.configure().exception("caught")
    assert log.lines()[-1].startswith("ValueError: invalid literal")


def test_level_and_chatty_libraries(log):
    log.configure(level="debug").debug("shown")
    logging.getLogger("kafka.conn").info("hidden")
    logging.getLogger("numba.core").debug("hidden")
    logging.getLogger("kafka.conn").warning("shown")
    assert len(log.lines()) == 2


def test_repeats_are_held_back_and_counted(log):
    logger = log.configure()
    for i in range(REPEATS + 7):
        logger.warning("flush took %d s", i)
    logger.warning("another")
    assert len(log.lines()) == REPEATS + 1
    log.now += REPEAT_SECONDS
    logger.warning("flush took %d s", 9)
    logger.warning("flush took %d s", 9)
    assert log.lines()[-2].endswith("held_back=7")
    assert "held_back" not in log.lines()[-1]


def test_other_labels_are_another_kind_of_line(log):
    logger = log.configure()
    for sink in ("a", "b"):
        for n in range(REPEATS + 1):
            logger.warning("sink error", extra={"fields": {"sink": sink, "n": n}})
    assert len(log.lines()) == 2 * REPEATS


def test_what_is_remembered_is_bounded():
    held = RepeatFilter(lambda: 0.0)
    for i in range(3 * KINDS):
        held.filter(logging.LogRecord("x", logging.INFO, "", 0, f"kind {i}", (), None))
    assert len(held._seen) == KINDS


def test_events_are_as_loud_as_their_outcome(log):
    log.configure(level="debug")
    log_events(
        (
            Event("refit", {"outcome": "promoted", "member": "single"}, {"version": "3.0"}),
            Event("refit", {"outcome": "failed", "member": "single"}, {"message": "collapsed"}),
            Event("refit_refused", {"reason": "condition"}),
            Event("snapshot", {"outcome": "ok"}),
        )
    )
    levels = [line.split()[1] for line in log.lines()]
    assert levels == ["INFO", "ERROR", "WARNING", "DEBUG"]
    assert log.lines()[0].endswith("refit outcome=promoted member=single version=3.0")


def test_kafka_python_s_own_lines_are_left_out_but_for_traces_and_debugging(log):
    def lines(level):
        log.stream.seek(0)
        log.stream.truncate()
        log.configure(level=level)
        kafkas = logging.getLogger("kafka.net.connection")
        kafkas.error("Connection lost")
        kafkas.error("Error processing callback", exc_info=RuntimeError("unexpected"))
        logging.getLogger("streamgmm.loop").warning("ours")
        return [line for line in log.lines() if "Z " in line]

    assert [line.split(" ", 3)[3] for line in lines("info")] == ["Error processing callback", "ours"]
    assert len(lines("debug")) == 3


def test_threads_that_log_at_once_meet_no_error():
    """More kinds of line than are remembered, so that every call forgets one."""
    repeat, errors = RepeatFilter(lambda: 0.0), []

    def log(thread):
        for i in range(3000):
            record = logging.LogRecord("x", logging.INFO, "", 0, f"{thread % 2} {i % (2 * KINDS)}", (), None)
            try:
                repeat.filter(record)
            except KeyError as error:
                errors.append(error)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=log, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert errors == []
