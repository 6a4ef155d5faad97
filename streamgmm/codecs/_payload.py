"""Single values out of a decoded payload: paths, numbers, categories and times, each with a reason when refused."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from hashlib import blake2b
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from streamgmm.records import Json, RejectReason

# A hash of 52 bits is exact as a float64.
_UNUSED_HASH_BITS = 64 - 52
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_YEAR_1, _YEAR_10000 = -62_135_596_800, 253_402_300_800
_MAX_DEPTH = 16
_PLAIN = str | int | float | None
# How writers put into quotes what JSON has no number for: Jackson, protobuf, .NET, Prometheus.
_NOT_FINITE = {f"{sign}{word}" for sign in ("", "+", "-") for word in ("nan", "inf", "infinity")}
_MISSING = {"", "-", "na", "n/a", "none", "null"}
_NUMBER = re.compile(r"[+-]?(?=[.,]*\d)[.,\d]+(e[+-]?\d+)?\s*%?", re.ASCII)
# Bytes that are not UTF-8, as `surrogateescape` decodes them.
_ESCAPED_BYTES = re.compile("[\udc80-\udcff]")
_LEAP_SECOND = re.compile(r"(.*:[0-5]\d:)60(.*)", re.ASCII | re.DOTALL)
_KINDS = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", int: "a number", float: "a number"}


class RefusalError(ValueError):
    """A payload that cannot be a vector; it becomes a Reject and never leaves the codec."""

    def __init__(self, reason: RejectReason, detail: str) -> None:
        super().__init__(detail)
        self.reason: RejectReason = reason
        self.detail = detail


class Unreadable:
    """Stands for a value that its format could not turn into one: it matters only where it is asked for.

    Parameters
    ----------
    words
        What it is, for the detail of a reject.
    """

    def __init__(self, words: str) -> None:
        self.words = words


def describe(value: Json) -> str:
    """Say what a value is, in a few words that are safe to log."""
    if isinstance(value, Unreadable):
        return value.words
    kind = "null" if value is None else _KINDS.get(type(value), f"of type {type(value).__name__}")
    return f"{kind} ({value!r:.40})" if isinstance(value, str | bool | int | float) else kind


def lookup(payload: Json, path: str) -> Json:
    """Return the value at a dotted path, or None.

    At every level a literal key that equals the rest of the path wins over descending, so that
    `{"host": {"load.1m": 3}}` is found by `host.load.1m`. In an array a segment is a position.
    """
    if isinstance(payload, dict) and path in payload:
        return payload[path]
    head, dot, rest = path.partition(".")
    below = _child(payload, head)
    return lookup(below, rest) if dot and below is not None else below


def _child(payload: Json, key: str) -> Json:
    if isinstance(payload, dict):
        return payload.get(key)
    if isinstance(payload, list) and key.isascii() and key.isdecimal() and len(key) < 10 and int(key) < len(payload):
        return payload[int(key)]
    return None


def number(name: str, value: Json) -> float:
    """Return a number field's value; NaN where it is missing, ±Inf where it overflows."""
    if value is None:
        return float("nan")
    if type(value) is not float and type(value) is not int and type(value) is not Decimal:
        if isinstance(value, str) and is_quoted_number(value):
            return float(value)
        raise RefusalError("schema", f"field {name!r} is {describe(value)}, expected a number{_advice(value)}")
    return as_float(value)


def is_quoted_number(text: str) -> bool:
    """Return whether a text is a NaN or an infinity: JSON has no number for them."""
    return text.lower() in _NOT_FINITE


def _advice(value: Json) -> str:
    text = value.strip().lower() if isinstance(value, str) else None
    if text in _MISSING:
        return "; let its producer write null where there is no value"
    if text is not None and _NUMBER.fullmatch(text):
        return "; if it is a number, let its producer write it as one, without quotes"
    return "; declare it with type: category" if isinstance(value, str | bool) else ""


def as_float(value: float | Decimal) -> float:
    """Return a number as float64; an integer beyond its range overflows to ±Inf instead of raising."""
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def category(name: str, value: Json, codes: dict[str, float]) -> float:
    """Return the stable number of a category: 52 bits of the BLAKE2b hash of its text; NaN where it is missing.

    `codes` remembers what was hashed already; it lives as long as a block.
    """
    if value is None or value != value:  # noqa: PLR0124 - NaN, whatever the type
        return float("nan")
    text = value if isinstance(value, str) else _category_text(name, value)
    code = codes.get(text)
    if code is None:
        if not text.isascii() and _ESCAPED_BYTES.search(text):
            raise RefusalError("schema", f"field {name!r} is not UTF-8 ({text!a:.40})")
        # surrogatepass: the standard parser lets lone surrogates through, and they are as good a category as any.
        digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        code = codes[text] = float(int.from_bytes(digest, "big") >> _UNUSED_HASH_BITS)
    return code


def _category_text(name: str, value: Json) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(as_float(value)) if abs(value) > 2**64 else repr(value)
    raise RefusalError(
        "schema", f"field {name!r} is {describe(value)}, expected a category (string, number or boolean)"
    )


def seconds(value: Json, unit: str) -> float:
    """Return an event time in seconds since the epoch; NaN where there is none.

    Raises
    ------
    RefusalError
        `schema`: not a time of this unit, or outside the years 1 to 9999.
    """
    if value is None or value != value:  # noqa: PLR0124 - NaN, whatever the type
        return float("nan")
    try:
        if isinstance(value, date):  # MessagePack and Avro have a type for times: the unit is theirs
            moment = _moment(value)
        else:
            moment = _iso_seconds(value) if unit == "iso" else _scaled_seconds(value, unit)
    except (TypeError, ValueError, OverflowError):
        raise RefusalError("schema", f"the timestamp is {describe(value)}, expected {_expected(unit)}") from None
    if not _YEAR_1 <= moment < _YEAR_10000:
        raise RefusalError("schema", f"the timestamp {value!r:.40} is outside the years 1 to 9999; is its unit {unit}?")
    return moment


def _moment(value: date) -> float:
    """Return a time, or the start of a day; one without a time zone is in UTC."""
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()


def _expected(unit: str) -> str:
    return "RFC 3339 text" if unit == "iso" else f"a number of {unit} since the epoch"


def _scaled_seconds(value: Json, unit: str) -> float:
    if type(value) is not float and type(value) is not int:
        raise TypeError
    return value / _PER_SECOND[unit]


def _iso_seconds(value: Json) -> float:
    """Return a time of RFC 3339: T and Z may be lower case, and a minute may have a second 60."""
    text = value.upper() if isinstance(value, str) else value
    leap = _LEAP_SECOND.fullmatch(text)
    if leap is None:
        return _moment(datetime.fromisoformat(text))
    return _moment(datetime.fromisoformat(f"{leap[1]}59{leap[2]}")) + 1


def encodable(value: Json, depth: int = 0) -> Json:
    """Return a value that any JSON writer accepts: what cannot be written (or is nested too deeply) becomes null."""
    if depth > _MAX_DEPTH:
        return None
    if isinstance(value, dict):
        return {str(encodable(k)): encodable(v, depth + 1) for k, v in value.items()}
    if isinstance(value, list):
        return [encodable(v, depth + 1) for v in value]
    try:
        msgspec.json.encode(value)
        return value if isinstance(value, _PLAIN) else msgspec.to_builtins(value)
    except TypeError:
        return None
    except (OverflowError, ValueError):
        return value.encode("utf-8", "replace").decode() if isinstance(value, str) else as_float(value)
