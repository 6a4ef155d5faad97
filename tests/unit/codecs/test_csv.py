"""Lines of CSV: what is a vector, what is missing, and what is rejected for which reason."""

import csv
import io
import math

import numpy as np
import pytest
from batches import record_batch
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgmm.codecs import CodecSettings, Field, Timestamp
from streamgmm.codecs._compiled import read_nothing
from streamgmm.codecs._payload import category
from streamgmm.codecs.csv import CsvCodec, build
from streamgmm.errors import ConfigError

NAN = math.nan
AB = (Field("a", "a"), Field("b", "b"))
MIXED = (Field("a", "a"), Field("s", "s", "category"), Field("b", "b"))


def decode_one(made: CsvCodec, value: str | bytes):
    """Return the row, or the reject's reason."""
    decoded = made.decode(record_batch([value if isinstance(value, bytes) else value.encode()]))
    return decoded.rejects[0].reason if decoded.rejects else decoded.X[0].tolist()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("1,2.5", [1, 2.5]),
        ("1,2.5\n", [1, 2.5]),
        ("1,2.5\r\n", [1, 2.5]),
        ('"1","2.5"', [1, 2.5]),
        (" 1 , 2.5 ", [1, 2.5]),
        ('" 1",2.5', [1, 2.5]),
        ("-1e3,+2", [-1000, 2]),
        ("007,.5", [7, 0.5]),
        ("1_000,5.", [1000, 5]),
        (",2", [NAN, 2]),
        ('"",2', [NAN, 2]),
        (" ,2", [NAN, 2]),
        ("nan,2", [NAN, 2]),
        ("2,NaN", [2, NAN]),
        ("1,inf", "non_finite"),
        ("1,-Infinity", "non_finite"),
        ("1e999,2", "non_finite"),
        (",", "schema"),
        ("1,x", "schema"),
        ("1,0x10", "schema"),
        ('1,"2,5"', "schema"),
        ('1,"2""5"', "schema"),
        ("1", "dimension"),
        ("1,2,", "dimension"),
        ("1,2,3", "dimension"),
        ("", "dimension"),
        ("\n", "dimension"),
        ("1;2", "dimension"),
        ('1,"2', "decode"),
        ('1,"2"x', "decode"),
        ("1,2\n3,4", "decode"),
        (b"1,\xff", "decode"),
    ],
)
def test_a_line(line, expected):
    got = decode_one(build(CodecSettings(AB)), line)
    assert got == expected if isinstance(expected, str) else np.testing.assert_array_equal(got, expected) is None


@pytest.mark.parametrize("delimiter", [",", ";", "|", "\t", " "])
def test_delimiters(delimiter):
    made = build(CodecSettings(MIXED, delimiter=delimiter))
    expected = [1.5, category("s", "üp", {}), NAN]
    np.testing.assert_array_equal(decode_one(made, delimiter.join(["1.5", "üp", ""])), expected)
    np.testing.assert_array_equal(decode_one(made, delimiter.join(["1.5", '"üp"', '""'])), expected)


def test_details_say_where_and_what():
    decoded = build(CodecSettings(AB)).decode(record_batch([b"1,x", b"1,2,3", b"\xff", b'1,"2', b'{"a": 1}']))
    details = [reject.detail for reject in decoded.rejects]
    assert "cell 2: field 'b' is a string ('x'), expected a number" in details[0]
    assert "a line of 3 cells, expected 2" in details[1]
    assert "not UTF-8 at byte 0" in details[2]
    assert "not a line of CSV" in details[3]
    assert details[4].endswith("starts with '{': is this JSON? Use codec json")


@pytest.mark.parametrize(
    "declared",
    [
        CodecSettings(()),
        CodecSettings(AB, timestamp=Timestamp("t", "s")),
        CodecSettings(AB, passthrough=("host",)),
        CodecSettings((Field("a", "x.a"),)),
        CodecSettings(AB, delimiter="1"),
        CodecSettings(AB, delimiter=""),
    ],
)
def test_what_a_line_cannot_carry_is_refused(declared):
    with pytest.raises(ConfigError):
        build(declared)


cells = st.one_of(
    st.floats().map(repr),
    st.integers(-(2**70), 2**70).map(str),
    st.text(st.sampled_from('0123456789.eE+-_ ,;"\n\rnaif'), max_size=8),
    st.sampled_from(["", " ", "nan", "1_0", "up"]),
)


@settings(max_examples=300)
@given(st.lists(st.lists(cells, min_size=3, max_size=3), max_size=5), st.sampled_from(",; "), st.booleans(), st.data())
def test_the_compiled_reading_agrees_with_the_careful_one(rows, delimiter, quote, data):
    declared = CodecSettings(MIXED, max_missing=1.0, delimiter=delimiter)
    records = []
    for row in rows:
        out = io.StringIO()
        csv.writer(out, delimiter=delimiter, quoting=csv.QUOTE_ALL if quote else csv.QUOTE_MINIMAL).writerow(row)
        at = data.draw(st.integers(0, len(out.getvalue())))
        cut = data.draw(st.sampled_from([out.getvalue(), out.getvalue()[:at], out.getvalue()[at:]]))
        records.append(cut.encode())
    made, careful = build(declared), build(declared)
    careful._quick = read_nothing(3)
    left, right = made.decode(record_batch(records)), careful.decode(record_batch(records))
    np.testing.assert_array_equal(left.X.view(np.int64), right.X.view(np.int64))
    assert left.rejects == right.rejects


def test_the_ordinary_line_needs_no_careful_reading(monkeypatch):
    made = build(CodecSettings(MIXED))
    monkeypatch.setattr(made, "_careful", None)
    for line in ("1,up,2.5\r\n", '"1","up","2.5"', " 1.25e-3 ,u p, nan", ",up,1", "1,,2"):
        assert isinstance(decode_one(made, line), list)
