"""Logging: text or JSON lines on one stream, fields beside the message, and no line repeated without end."""

from __future__ import annotations

import logging
import math
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, TextIO

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from streamgmm.records import Contact, Event, Json

_log = logging.getLogger("streamgmm.events")

REPEATS = 5  # of one kind of line within REPEAT_SECONDS; what is more is counted and told later
REPEAT_SECONDS = 60.0
KINDS = 256  # kinds of line that are remembered
# event kind → the sentence that is logged; any other is logged by its name
SENTENCES = {
    "sink_error": "a sink does not accept records; they are kept, and the source is paused",
    "sink_recovered": "a sink accepts records again",
    "output_cut": "records were too large for their topic and were truncated or left out; the source has the originals",
    "thinned": (
        "by event time, rows arrive so fast that fewer than one in a thousand is learnt; if that rate is wrong,"
        " check the event time and its unit, or shorten learning.window.span"
    ),
}

# event kind, outcome (where it has one) → level; a kind or an outcome that is not here is worth INFO
LEVELS = {
    ("refresh", None): logging.DEBUG,
    ("refresh_failed", None): logging.WARNING,
    ("refit_fitted", None): logging.DEBUG,
    ("refit", "refused"): logging.WARNING,
    ("refit", "failed"): logging.ERROR,
    ("refit_refused", None): logging.WARNING,
    ("drift", None): logging.WARNING,
    ("thinned", None): logging.WARNING,
    ("snapshot", "ok"): logging.DEBUG,
    ("snapshot", "failed"): logging.DEBUG,
    ("commit", "ok"): logging.DEBUG,
    ("commit", "refused"): logging.DEBUG,
    ("sink_error", None): logging.WARNING,
    ("output_cut", "truncated"): logging.WARNING,
    ("output_cut", "passed"): logging.WARNING,
    ("not_learnt", None): logging.WARNING,
    ("position_moved", None): logging.WARNING,
}


def configure(
    level: str,
    style: Literal["text", "json"] = "text",
    *,
    stream: TextIO | None = None,
    now: Callable[[], float] = time.monotonic,
) -> None:
    """Send every logger of the process to one stream; calling it again replaces what was there.

    Parameters
    ----------
    level
        debug, info, warning or error.
    style
        One line of text, or one JSON object a line.
    stream
        Standard error unless given.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    handler.addFilter(RepeatFilter(now))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # At debug these two write a line per request and per bytecode.
    for chatty in ("kafka", "numba"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, root.level))
    if root.level > logging.DEBUG:
        handler.addFilter(_not_of_the_library)


def log_events(events: Iterable[Event]) -> None:
    """Write one line per event, as loud as its outcome deserves."""
    for event in events:
        level = LEVELS.get((event.kind, event.labels.get("outcome")), logging.INFO)
        sentence = SENTENCES.get(event.kind, event.kind.replace("_", " "))
        _log.log(level, sentence, extra={"fields": {**event.labels, **event.fields}})


def _not_of_the_library(record: logging.LogRecord) -> bool:
    """Return False for what kafka-python says of brokers that are away, 35 lines a minute: we say it in two.

    An exception that it did not expect comes with its trace, and is let through.
    """
    return not record.name.startswith("kafka.") or bool(record.exc_info)


class RepeatFilter(logging.Filter):
    """Lets a kind of line (logger, level, message before its values, labels) through a few times a minute.

    The first line of the next minute says how many were held back.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        super().__init__()
        self._now = now
        self._lock = threading.Lock()
        self._seen: dict[tuple[Json, ...], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a line is written."""
        fields = getattr(record, "fields", {})
        named = tuple(v for v in fields.values() if isinstance(v, str))
        kind = (record.name, record.levelno, record.msg, named)
        now = self._now()
        with self._lock:  # a handler calls its filters before it takes its own lock
            since, n = self._seen.pop(kind, (now, 0))
            if now - since >= REPEAT_SECONDS:
                if n > REPEATS:
                    record.fields = {**fields, "held_back": n - REPEATS}
                since, n = now, 0
            while len(self._seen) >= KINDS:
                del self._seen[next(iter(self._seen))]
            self._seen[kind] = (since, n + 1)
        return n < REPEATS


class TextFormatter(logging.Formatter):
    """`2026-01-31T12:00:00.123Z INFO streamgmm.app message name=value`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; control characters are escaped, so that no value can forge a second one."""
        fields = "".join(f" {name}={_plain(value)}" for name, value in getattr(record, "fields", {}).items())
        line = f"{_moment(record)} {record.levelname} {record.name} {_one_line(record.getMessage())}{fields}"
        return "\n".join([line, *_trouble(self, record)])


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {
            "time": _moment(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in getattr(record, "fields", {}).items() if name not in line}
        trouble = _trouble(self, record)
        if trouble:
            line["traceback"] = "\n".join(trouble)
        return msgspec.json.encode(line, enc_hook=str).decode()


def log_contact(before: Contact, after: Contact) -> None:
    """Write a line when the far side of the source falls silent, and one when it answers again."""
    if after.lost and not before.lost:
        _log.error("%s; requests are repeated, and no record is lost", silence(after))
    elif before.lost and not after.lost:
        _log.info("Kafka answers again; it was silent for %.0f s", after.answered - before.answered)


def silence(contact: Contact) -> str:
    """Return a sentence about a far side that does not answer."""
    return f"Kafka has not answered since {moment(contact.answered)}"


def moment(seconds: float) -> str:
    """Return a time of day (seconds since the epoch) as words have it, to the second and in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _moment(record: logging.LogRecord) -> str:
    at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    return at.replace("+00:00", "Z")


def _trouble(formatter: logging.Formatter, record: logging.LogRecord) -> list[str]:
    return [formatter.formatException(record.exc_info)] if record.exc_info and record.exc_info[0] else []


def _plain(value: Json) -> str:
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.6g}"
    text = str(value)
    return msgspec.json.encode(text).decode() if not text or set(text) & set(' "=') or not text.isprintable() else text


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
