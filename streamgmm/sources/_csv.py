"""CSV rows as JSON objects, so that one codec reads both."""

from __future__ import annotations

import csv
import json
import re
from typing import TYPE_CHECKING

from streamgmm.errors import StopError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

BOM = b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")

# What JSON calls a number is copied digit by digit; the rest of what a spreadsheet calls one goes through float.
_JSON_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_LOOSE_NUMBER = re.compile(r"[+-]?((0|[1-9]\d*)(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_INFINITIES = {
    f"{sign}{word}": f"{json_sign}Infinity"
    for sign, json_sign in (("", ""), ("+", ""), ("-", "-"))
    for word in ("inf", "infinity")
}
# Cells that hold nothing, as pandas, R, databases and spreadsheets write them. `none` and `na` may be categories.
_MISSING = {
    "", "NA", "N/A", "n/a", "<NA>", "#N/A", "#NA", "NULL", "Null", "null", "None", "NaT", "\\N", "-nan", "-NaN",
}  # fmt: skip
_WORDS = {"nan": "null"} | _INFINITIES


def header(line: bytes, path: Path) -> tuple[str, ...]:
    """Return the names in the first line of a CSV file, without a byte order mark and without blanks around them.

    Raises
    ------
    StopError
        The line is no header: nothing could be found by its names, or the wrong thing.
    """
    if line.startswith(_UTF_16):
        raise StopError(f"{path}:1: the file is UTF-16", hint="save it as UTF-8")
    names = tuple(name.strip() for name in cells(line.removeprefix(BOM).decode("utf-8", "replace")) or ())
    if not any(names):
        raise StopError(f"{path}:1: there is no header", hint="the first line should name the columns")
    twice = next((name for name in names if name and names.count(name) > 1), None)
    if twice is not None:
        raise StopError(f"{path}:1: the column {twice!r} is named twice", hint="give each column a name of its own")
    if len(names) == 1 and (";" in names[0] or "\t" in names[0]):
        raise StopError(f"{path}:1: the cells are not separated by commas", hint="write it with commas")
    if all(map(_LOOSE_NUMBER.fullmatch, names)) and not all(map(str.isdecimal, names)):
        raise StopError(f"{path}:1: the first line holds numbers", hint="add a header line with column names")
    return names


def cells(text: str) -> tuple[str, ...] | None:
    """Return the cells of one CSV line, or None where it is not one."""
    try:
        rows = list(csv.reader([text.rstrip("\r\n")], strict=True))
    except csv.Error:
        return None
    return tuple(rows[0]) if rows else None


def as_json(line: bytes, header: Sequence[str]) -> bytes:
    """Return a CSV row as a JSON object; a row that does not fit the header stays as it is, for the codec to reject.

    Bytes that are not UTF-8 become halves of surrogate pairs: the codec refuses them where such a text is asked for.
    """
    row = cells(line.decode("utf-8", "surrogateescape"))
    if row is None or len(row) != len(header):
        return line
    pairs = (f"{json.dumps(name)}:{_token(cell)}" for name, cell in zip(header, row, strict=True))
    return ("{" + ",".join(pairs) + "}").encode()


def _token(cell: str) -> str:
    """Return a cell as a JSON token: a number, null where it is empty, text otherwise (and `007` is text)."""
    bare = cell.strip()
    if bare in _MISSING:
        return "null"
    word = _WORDS.get(bare.lower())
    if word is not None:
        return word
    if _JSON_NUMBER.fullmatch(bare):
        return bare
    return json.dumps(float(bare)) if _LOOSE_NUMBER.fullmatch(bare) else json.dumps(cell)
