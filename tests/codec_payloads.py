"""Payloads for text codecs: ordinary, odd and mutated ones, from a seeded generator."""

from __future__ import annotations

import json
import struct
from contextlib import suppress
from datetime import UTC, datetime

import msgspec

NAMES = ("cpu", "mem.used", "disk.io.read", "net_é", 'lat"q', "x", "an.extremely.long.name.of.a.measurement")
ODD = (
    b"null", b"true", b"false", b"NaN", b"-Infinity", b"Infinity", b"nul", b'"1"', b'"\\u00e9"', b'"\\ud83d\\ude00"',
    b'"\\ud800"', b'"\xc3\xa9"', b'"\xff"', b"[]", b"{}", b"[1,[2,{}]]", b'{"a":{"b":[null]}}', b"1e400", b"-1e-400",
    b"-0", b"-0.0", b"00", b"01", b"1.", b".5", b"1e", b"1e+", b"+1", b"1e5", b"1E-05", b"9007199254740993",
    b"123456789012345678901234567890", b"0.1000000000000000055511151231257827", b"1_0", b"0x10", b"",
    b"5e-324", b"2.2250738585072011e-308", b"1.7976931348623159e308", b"-8829408953566475.0",
)  # fmt: skip
TIMES = {
    "ms": (b"1700000000000", b"1.7e12", b"1700000000.25", b"-5", b"0", b"null", b"1700000000000.0", b"1700000000123"),
    "ns": (b"1700000000500000001", b"1.7e18", b"9223372036854775807", b"12345678901234567890", b"-1700000000500000001"),
    "s": (b"1700000000", b"1700000000.5", b"17000000000000", b"1e300"),
    "iso": (
        b'"2024-02-29T12:30:00Z"', b'"2024-02-30T12:30:00Z"', b'"2023-11-15T00:13:20.5+02:00"',
        b'"2023-11-15 00:13:20.123456789"', b'"2023-11-15T00:13:20."', b'"20231115T001320Z"', b'"2023-11-15"',
        b'"2023-11-15T24:00:00"', b'"1969-12-31T23:59:59Z"', b'"2023-11-15T00:13:20-24:00"', b'"2023-11-15T00:13:20z"',
        b'"2023-11-15T00:13:20\\u005a"', b'""', b"null", b'"2199-12-31T23:59:59.999999-00:30"',
        b'"2023-11-15T00:13:20"', b'"2023-11-15T00:13:20.123+0130"', b'"2023-11-15T00:13:20+01"',
    ),
}  # fmt: skip
SPELLINGS = (
    lambda rng: repr(rng.random()),
    lambda rng: repr(rng.gauss(0, 1) * 10 ** rng.randint(-20, 20)),
    lambda rng: repr(struct.unpack("d", rng.randbytes(8))[0]).replace("nan", "1.5").replace("inf", "2.5"),
    lambda rng: str(rng.randint(-(10 ** rng.randint(1, 30)), 10 ** rng.randint(1, 30))),
    lambda rng: f"{rng.gauss(0, 1) * 10 ** rng.randint(-5, 5):.{rng.randint(0, 30)}f}",
    lambda rng: f"{rng.gauss(0, 1) * 10 ** rng.randint(-290, 300):.{rng.randint(0, 30)}e}",
    lambda rng: f"{rng.gauss(0, 100):.3f}",
    lambda rng: f"{_some(rng)}.{_some(rng)}e{rng.randint(-290, 270)}",
)
CELLS = (b"", b" ", b" 1.5 ", b'a"b', b"nan", b"NaN", b"inf", b"a b", b"up", b"\xc3\xb6", b"007", b"-1.5", b"\t1")
ALPHABET = b'{}[]",:\\0123456789eE.-+tfn ruals\x00\x01\t\n\r\x7f\x80\xc3\xa9\xed\xf0\xff;|'


def number(rng) -> bytes:
    """Return the text of a number that Python can read."""
    return rng.choice(SPELLINGS)(rng).encode()


def _some(rng):
    return rng.randint(0, 10 ** rng.randint(1, 19))


def value(rng) -> bytes:
    """Return a number as a rule, something odd now and then."""
    return number(rng) if rng.random() < 0.97 else rng.choice(ODD)


def document(rng, unit: str) -> bytes:
    """Return an object, an array, or now and then something else."""
    blank = rng.choice([b"", b"", b" ", b"\n\t"])
    comma, colon = b"," + blank, b":" + blank
    if rng.random() < 0.15:
        return b"[" + comma.join(value(rng) for _ in range(rng.choice([7, 7, 7, 0, 6, 8]))) + b"]"
    tree: dict[str, object] = {}
    for name in NAMES:
        if rng.random() < 0.9:
            _put(tree, name.split(".") if rng.random() < 0.97 else [name], value(rng))
    pairs: list[tuple[str, object]] = list(tree.items())
    pairs += [("ts", rng.choice(TIMES[unit]))] if rng.random() < 0.7 else []
    pairs += [("state", rng.choice([b'"up"', b'"k\\u00f6ln"', b'"\xc3\xb6"', b"3", b"true", b"1.0", b'""', b"[]"]))]
    while rng.random() < 0.3:
        pairs.append((rng.choice([*NAMES, "mem", "other", "", "ts", "é"]), value(rng)))
    if rng.random() < 0.3:
        rng.shuffle(pairs)
    return blank + _object(rng, pairs, comma, colon) + blank


def packed(rng, unit: str) -> bytes:
    """Return a document in MessagePack, with items that JSON does not have."""
    while True:
        with suppress(ValueError):
            return msgspec.msgpack.encode(_repacked(rng, json.loads(document(rng, unit), parse_int=_fitting)))


def _fitting(text):
    return int(text) if -(2**63) <= int(text) < 2**64 else float(text)


def _repacked(rng, found):
    if isinstance(found, dict):
        return {key: _repacked(rng, below) for key, below in found.items()}
    if isinstance(found, list):
        return [_repacked(rng, below) for below in found]
    if rng.random() < 0.9 or isinstance(found, str):
        return found
    moment = datetime.fromtimestamp(rng.randrange(2**31), UTC)
    integer = rng.randint(-(2**63), 2**63 - 1) >> rng.randrange(64)
    single = msgspec.Raw(b"\xca" + rng.randbytes(4))
    return rng.choice([integer, integer, single, single, b"bin", moment, msgspec.msgpack.Ext(5, b"x")])


def _put(tree, path, leaf):
    *heads, last = path
    for head in heads:
        tree = tree.setdefault(head, {})
        if not isinstance(tree, dict):
            return
    tree[last] = leaf


def _object(rng, pairs, comma, colon):
    members = []
    for key, below in pairs:
        text = json.dumps(key, ensure_ascii=rng.random() < 0.5).encode()
        inner = _object(rng, list(below.items()), comma, colon) if isinstance(below, dict) else below
        if isinstance(below, dict) and rng.random() < 0.05:
            inner = rng.choice([b"null", b"[1,2]", b"3", b"{}"])
        members.append(text + colon + inner)
    return b"{" + comma.join(members) + b"}"


def line(rng, delimiter: bytes = b",") -> bytes:
    """Return a line of seven cells, or of nearly as many."""
    cells = []
    for _ in range(rng.choice([7] * 12 + [0, 6, 8])):
        cell = (
            value(rng)
            if rng.random() < 0.9
            else rng.choice([b"", b" ", b" 1.5 ", b'a"b', b"nan", b"NaN", b"inf", b"a b"])
        )
        cells.append(b'"' + cell.replace(b'"', b'""') + b'"' if rng.random() < 0.2 else cell)
    return delimiter.join(cells) + rng.choice([b"", b"", b"\n", b"\r\n"])


def mutated(rng, data: bytes) -> bytes:
    """Return the same with up to three changes; none at all now and then."""
    out = bytearray(data)
    for _ in range(rng.randrange(4)):
        at, kind = rng.randrange(len(out) + 1), rng.randrange(6)
        if kind == 0:
            del out[at : at + 1]
        elif kind == 1:
            out[at : at + 1] = bytes([rng.choice([rng.choice(ALPHABET), rng.randrange(256)])])
        elif kind == 2:
            out[at:at] = bytes([rng.choice(ALPHABET)]) * rng.choice([1, 1, 2, 70])
        elif kind == 3:
            del out[at:]
        elif kind == 4:
            out[at:at] = rng.choice(ODD)
        else:
            del out[at : at + rng.randrange(12)]
    return bytes(out)
