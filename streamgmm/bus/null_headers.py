"""Headers without a value, which Kafka has and kafka-python's producer refuses with a TypeError.

Its record builder writes them. So the producer is given a mark, an empty byte string of a type of its own, and the
builder a null in its place. Where the builder is another one than expected, the value is written as an empty string.
"""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any

from kafka.record.default_records import DefaultRecordBatchBuilder

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamgmm.records import Headers


class _Null(bytes):
    """Stands for a value that is null."""


class _WithNulls(list[tuple[str, bytes]]):
    """Headers some of which are null."""


_NULL = _Null()


def sendable(headers: Headers) -> list[tuple[str, bytes]]:
    """Return headers as the producer takes them."""
    plain = [(name, value) for name, value in headers if value is not None]
    if len(plain) == len(headers):
        return plain
    return _WithNulls((name, _NULL if value is None else value) for name, value in headers)


def _with_nulls(append: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(append)
    def wrapped(*what: Any, **named: Any) -> Any:  # noqa: ANN401 - kafka-python's own
        return append(*map(_written, what), **{name: _written(value) for name, value in named.items()})

    return wrapped


def _written(argument: Any) -> Any:  # noqa: ANN401 - kafka-python's own
    if not isinstance(argument, _WithNulls):
        return argument
    return [(name, None if isinstance(value, _Null) else value) for name, value in argument]


DefaultRecordBatchBuilder.append = _with_nulls(DefaultRecordBatchBuilder.append)
