"""Envelopes that other programs put around a vector, taken off: Debezium, Telegraf, CloudEvents.

What is inside is what fields, timestamp and passthrough speak of; without a timestamp among them the envelope's is
taken. A row that stands inside as a text is JSON.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from streamgmm.codecs import _json_text
from streamgmm.codecs._payload import RefusalError, describe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from streamgmm.records import Json, WithoutRow

    Parse: TypeAlias = Callable[[memoryview], Json]

# MongoDB's extended JSON: what an object of this one key means.
_EXTENDED: Mapping[str, Callable[[Any], Json]] = {
    "$numberInt": int,
    "$numberLong": int,
    "$numberDouble": float,
    "$numberDecimal": float,
    "$oid": str,
    "$date": lambda inner: inner,
}
_MOST_DEPTH = 16
# What stands around the fields of a Telegraf metric, and all that a heartbeat of Debezium holds.
AROUND = ("name", "tags", "timestamp")
_HEARTBEAT = {"ts_ms", "ts_us", "ts_ns"}


class Content(NamedTuple):
    """What was inside, and the event time that its envelope names (None where it names none), in this unit.

    `refusal` says why this one of several is rejected, `without_row` what it is where it holds no row. `fields` are a
    metric's own, without what stands around them.
    """

    payload: Json
    time: Json = None
    unit: str = "s"
    refusal: RefusalError | None = None
    without_row: WithoutRow | None = None
    fields: Mapping[str, Json] | None = None


def unwrapped(payload: Json, envelope: str | None, parse: Parse) -> tuple[Content, ...]:
    """Return the vectors that a payload holds: one, several (a Telegraf batch), or none (a deleted row).

    Parameters
    ----------
    envelope
        A name of UNWRAP, or None for a payload that is the vector itself.
    parse
        Reads bytes that stand inside an envelope.

    Raises
    ------
    RefusalError
        `schema`: the payload is not such an envelope.
    """
    if envelope is None:
        return (Content(payload),)
    if not isinstance(payload, dict):
        raise RefusalError("schema", f"the payload is {describe(payload)}, expected an envelope of {envelope}")
    return _ENVELOPES[envelope](payload, parse)


def _debezium(payload: Mapping[str, Json], parse: Parse) -> tuple[Content, ...]:  # noqa: ARG001 - as all in the table
    """Open a change event, with or without its schema beside it. A deleted row leaves nothing to score."""
    change = payload["payload"] if isinstance(payload.get("payload"), dict) else payload
    without = _without_row(change)
    if without is not None:
        return (Content(None, without_row=without),)
    if "after" not in change:
        raise RefusalError("schema", "not a Debezium envelope: there is neither payload.after nor after")
    if change["after"] is None:
        return ()
    source = change.get("source")
    changed = source.get("ts_ms") if isinstance(source, dict) else None
    # Rows of a first snapshot may carry no time of change, or a zero.
    time = changed or change.get("ts_ms")
    if isinstance(change["after"], str):  # MongoDB's connector writes a text of extended JSON
        return (Content(_extended(_document(change["after"], "after")), time, "ms"),)
    return (Content(change["after"], time, "ms"),)


def _without_row(change: Mapping[str, Json]) -> WithoutRow | None:
    """Return what a record of Debezium is that is no change of a row."""
    operations: Mapping[Json, WithoutRow] = {"t": "truncate", "m": "message"}
    operation = change.get("op")
    if isinstance(operation, str) and operation in operations:
        return operations[operation]
    if change.get("after") is None and "updateDescription" in change and operation != "d":
        return "no_document"
    if "after" in change or "op" in change:
        return None
    if "ddl" in change or "tableChanges" in change:
        return "schema_change"
    if change.get("status") in {"BEGIN", "END"} and "id" in change:
        return "transaction"
    return "heartbeat" if "ts_ms" in change and set(change) <= _HEARTBEAT else None


def _telegraf(payload: Mapping[str, Json], parse: Parse) -> tuple[Content, ...]:  # noqa: ARG001 - as all in the table
    """Open one metric or a batch of them. A metric's fields stand beside its name, tags and timestamp, and win.

    Telegraf writes seconds unless it is told otherwise; other units need `codec.timestamp`.
    """
    metrics = payload["metrics"] if isinstance(payload.get("metrics"), list) else [payload]
    if not metrics:
        raise RefusalError("schema", "a Telegraf batch without metrics")
    contents = []
    for metric in metrics:
        fields = metric.get("fields") if isinstance(metric, dict) else None
        if not isinstance(fields, dict):
            refusal = RefusalError("schema", f"not a Telegraf metric: fields is {describe(fields)}")
            contents.append(Content(None, refusal=refusal))
            continue
        around = {key: metric[key] for key in AROUND if key in metric}
        contents.append(Content(around | fields, metric.get("timestamp"), fields=fields))
    return tuple(contents)


def _cloudevents(payload: Mapping[str, Json], parse: Parse) -> tuple[Content, ...]:
    """Open an event in structured mode; its data may be bytes of the same format."""
    if "data" in payload:
        data = payload["data"]
        data = _document(data, "data") if isinstance(data, str) else data
    elif isinstance(payload.get("data_base64"), str):
        data = _within(payload["data_base64"], parse)
    else:
        hint = "in binary mode the value is the data: leave unwrap out"
        raise RefusalError("schema", f"not a CloudEvents envelope: there is no data ({hint})")
    return (Content(data, payload.get("time"), "iso"),)


def _document(text: str, name: str) -> Json:
    try:
        return _json_text.parse(memoryview(text.encode("utf-8", "surrogatepass")))
    except RefusalError as refusal:
        raise RefusalError(refusal.reason, f"{name}: {refusal.detail}") from None


def _extended(value: Json, depth: int = 0) -> Json:
    """Return what MongoDB's extended JSON says: `{"$numberLong": "42"}` is 42. What is malformed stays as it is."""
    if depth == _MOST_DEPTH:
        return value
    if isinstance(value, list):
        return [_extended(item, depth + 1) for item in value]
    if not isinstance(value, dict):
        return value
    plain = {key: _extended(inner, depth + 1) for key, inner in value.items()}
    key = next(iter(plain), "")
    if len(plain) == 1 and key in _EXTENDED:
        try:
            return _EXTENDED[key](plain[key])
        except (ValueError, TypeError):
            return value
    return plain


def _within(text: str, parse: Parse) -> Json:
    try:
        inner = b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise RefusalError("decode", "data_base64 is not base64") from None
    return parse(memoryview(inner))


_ENVELOPES: Mapping[str, Callable[[Mapping[str, Json], Parse], tuple[Content, ...]]] = {
    "debezium": _debezium,
    "telegraf": _telegraf,
    "cloudevents": _cloudevents,
}
UNWRAP = tuple(_ENVELOPES)
