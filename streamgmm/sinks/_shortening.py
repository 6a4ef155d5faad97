"""Shorter records in place of those that a topic refuses for their size, so that no record can stop the stream.

A shortened record has a header `streamgmm-truncated`, which names the full sizes; `streamgmm-source` says where the
original is.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from streamgmm.sinks._rendering import CONTENT_HEADER, OURS, REASON_HEADER, TRUNCATED_HEADER, truncated_header

if TYPE_CHECKING:
    from streamgmm.records import Headers, Json, OutputRecord

# A record that is refused is sent again at a quarter of its size, until it fits or is below the least one.
SHRINK = 4
LEAST_BYTES = 512
_LEAST_ITEMS = 4
_ITEM_BYTES = 512


def size(record: OutputRecord) -> int:
    """Return the bytes of key, value and headers."""
    return len(record.value) + len(record.key or b"") + _bytes(record.headers)


def shortened(record: OutputRecord) -> OutputRecord | None:
    """Return the record at about a quarter of its size; None where it cannot be made smaller.

    A dead letter keeps the beginning of its value. A JSON or MessagePack document stays one: its long texts, lists and
    maps are cut, and what was passed through is left out. The key keeps its beginning. Headers from the original
    record are dropped where they are long; ours stay.
    """
    full = size(record)
    budget = full // SHRINK
    if budget < LEAST_BYTES:
        return None
    mine = tuple((name, value) for name, value in record.headers if name in OURS or name == CONTENT_HEADER)
    headers = mine if _bytes(record.headers) - _bytes(mine) > budget // 4 else record.headers
    if all(name != TRUNCATED_HEADER for name, _ in record.headers):
        headers = (*headers, truncated_header(len(record.value), len(record.key or b"")))
    key = record.key if record.key is None else record.key[: budget // 4]
    shorter = replace(record, value=_value(record, budget // 2), key=key, headers=headers)
    return shorter if size(shorter) < full // 2 else None


def _value(record: OutputRecord, most: int) -> bytes:
    if len(record.value) <= most:
        return record.value
    headers = dict(record.headers)
    if REASON_HEADER in headers:
        return record.value[:most]
    packed = CONTENT_HEADER in headers
    try:
        document = msgspec.msgpack.decode(record.value) if packed else msgspec.json.decode(record.value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return record.value[:most]
    if not isinstance(document, dict) or "format" in document:
        return record.value  # packed columns have no shorter form
    if "passthrough" in document:
        document["passthrough"] = {}
    cut = {name: _cut(value, most) for name, value in document.items()}
    return msgspec.msgpack.encode(cut) if packed else msgspec.json.encode(cut)


def _cut(value: Json, most: int) -> Json:
    """Return a value of a document with its long texts, lists and maps cut."""
    items = max(_LEAST_ITEMS, most // _ITEM_BYTES)
    if isinstance(value, str):
        return value[: max(4, most // 16 * 4)]  # a multiple of four: base64 stays base64
    if isinstance(value, dict):
        return {name[:most]: _cut(v, most // 2) for name, v in list(value.items())[:items]}
    if isinstance(value, list):
        return [_cut(v, most // 2) for v in value[:items]]
    return value


def _bytes(headers: Headers) -> int:
    return sum(len(name) + len(value or b"") for name, value in headers)
