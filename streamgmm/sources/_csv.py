"""CSV rows as JSON objects, so that one codec reads both."""

from __future__ import annotations

import csv
import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# What JSON calls a number is copied digit by digit; the rest of what a spreadsheet calls one goes through float.
_JSON_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_LOOSE_NUMBER = re.compile(r"[+-]?((0|[1-9]\d*)(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_INFINITIES = {
    f"{sign}{word}": f"{json_sign}Infinity"
    for sign, json_sign in (("", ""), ("+", ""), ("-", "-"))
    for word in ("inf", "infinity")
}
_WORDS = {"": "null", "nan": "null"} | _INFINITIES


def cells(text: str) -> tuple[str, ...] | None:
    """Return the cells of one CSV line, or None where it is not one."""
    try:
        rows = list(csv.reader([text.rstrip("\r\n")], strict=True))
    except csv.Error:
        return None
    return tuple(rows[0]) if rows else None


def as_json(line: bytes, header: Sequence[str]) -> bytes:
    """Return a CSV row as a JSON object; a row that does not fit the header stays as it is, for the codec to reject."""
    try:
        row = cells(line.decode())
    except UnicodeDecodeError:
        return line
    if row is None or len(row) != len(header):
        return line
    pairs = (f"{json.dumps(name)}:{_token(cell)}" for name, cell in zip(header, row, strict=True))
    return ("{" + ",".join(pairs) + "}").encode()


def _token(cell: str) -> str:
    """Return a cell as a JSON token: a number, null where it is empty, text otherwise (and `007` is text)."""
    bare = cell.strip()
    word = _WORDS.get(bare.lower())
    if word is not None:
        return word
    if _JSON_NUMBER.fullmatch(bare):
        return bare
    return json.dumps(float(bare)) if _LOOSE_NUMBER.fullmatch(bare) else json.dumps(cell)
