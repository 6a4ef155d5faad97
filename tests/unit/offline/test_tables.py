"""Tables of every format: which columns are taken, what cells mean, and what is refused, with its line."""

import gzip
import io
import json
import struct
import zipfile

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from streamgmm.codecs import CodecSettings, Field, Timestamp
from streamgmm.codecs._payload import category
from streamgmm.errors import StopError
from streamgmm.offline import tables

N = 20
BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"
MOMENTS = np.arange("2024-01-01T00:00", "2024-01-01T00:20", dtype="datetime64[m]")
FIRST = 1704067200.0
A, B = (np.random.default_rng(seed).normal(size=N) for seed in (1, 2))
HOSTS = [f"web-{i % 3}" for i in range(N)]


def asked(*fields, **more):
    return CodecSettings(tuple(f if isinstance(f, Field) else Field(f, f) for f in fields), **more)


def lines(header, rows):
    return "\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n"


def csv(path, text, name="in.csv"):
    path = path / name
    path.write_text(text, encoding="utf-8")
    return path


def in_every_format(folder):
    """Write an index, a time, a category and two numbers as each format does."""
    rows = list(zip(range(N), [f"{m}:00Z" for m in MOMENTS], HOSTS, A.tolist(), B.tolist(), strict=True))
    names = ("", "when", "host", "a", "b")
    yield csv(folder, lines(",".join(names), rows))
    yield csv(folder, lines(",".join(names), rows), "IN.CSV")
    with gzip.open(folder / "in.csv.gz", "wt") as file:
        file.write(lines(",".join(names), rows))
    yield folder / "in.csv.gz"
    yield csv(folder, "".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows), "in.jsonl")
    typed = {"when": MOMENTS.astype("datetime64[ns]"), "host": HOSTS, "a": A, "b": B}
    parquet.write_table(pa.table({**typed, "__index_level_0__": np.arange(N)}), folder / "in.parquet")
    yield folder / "in.parquet"
    np.savez(folder / "in.npz", when=MOMENTS, host=np.array(HOSTS), a=A, b=B)
    yield folder / "in.npz"


def test_every_format_gives_the_same_columns(tmp_path):
    for path in in_every_format(tmp_path):
        table = tables.read(path)
        assert table.fields == ("a", "b"), path
        np.testing.assert_array_equal(table.X, np.column_stack([A, B]))
        np.testing.assert_array_equal(table.t, FIRST + 60.0 * np.arange(N))
        taken, left_out = table.notes
        assert taken == "columns taken: a, b; event time: when"
        assert "host (text)" in left_out


def test_every_format_gives_the_same_categories(tmp_path):
    wanted = asked("b", Field("host", "host", "category"), timestamp=Timestamp("when", "iso"))
    codes = [category("host", host, {}) for host in HOSTS]
    for path in in_every_format(tmp_path):
        table = tables.read(path, wanted)
        assert table.fields == ("b", "host"), path
        np.testing.assert_array_equal(table.X, np.column_stack([B, codes]))
        np.testing.assert_array_equal(table.t, FIRST + 60.0 * np.arange(N))


@pytest.mark.parametrize("mark", ["", " ", "NULL", "null", "NA", "N/A", "<NA>", "None", "nan", "NaN", r"\N", "NaT"])
def test_what_marks_a_missing_cell_is_missing(tmp_path, mark):
    table = tables.read(csv(tmp_path, f"a,b,c\n1,2,x\n{mark},3,y\n"))
    np.testing.assert_array_equal(table.X, [[1, 2], [np.nan, 3]])
    table = tables.read(tmp_path / "in.csv", asked("a", "b"))
    np.testing.assert_array_equal(table.X, [[1, 2], [np.nan, 3]])


def test_a_row_without_any_cell_stays_a_row_and_a_blank_line_is_none(tmp_path):
    table = tables.read(csv(tmp_path, "a,b\n1,2\n,\n\n3,4\n\n"))
    np.testing.assert_array_equal(table.X, [[1, 2], [np.nan, np.nan], [3, 4]])


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path):
    assert tables.read(csv(tmp_path, BOM + "t,a,b\n1,2,3\n")).fields == ("a", "b")
    assert tables.read(csv(tmp_path, BOM + '{"a": 1}\n' + BOM + '{"a": 2}\n', "in.jsonl")).X.tolist() == [[1], [2]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2\n1,2,3\n", ":3: a line of 3 cells, but the header has 2 names"),
        ("a,b\n1,2,\n3,4,\n", ":2: a line of 3 cells"),
        ("a,b\n1,2\n3\n", ":3: a line of 1 cell, "),
        ("a,b,a\n1,2,3\n", ":1: the column 'a' is named twice"),
        ("1.5,2\n3,4\n", ":1: the first line holds numbers"),
        ("a;b\n1;2\n", ":1: the cells are not separated by commas"),
        ("", ":1: there is no header"),
        ('a,b\n1,2\n3,"4\n', ":3: not a line of CSV"),
        ("a,b\n" + "1,2\n" * 40 + "1,ERR\n", ":42: the column b is numeric, but here it holds 'ERR'"),
        ("a,b\n1,2\n1,1e999\n", ":3: the column 'b' holds Inf"),
        ("a\n1\n" + "1" * 200_000 + "\n", ":3: not a line of CSV"),
        ("host,zone\nx,y\n", "no column is left to read (host: text, zone: text)"),
    ],
)
def test_a_csv_that_is_no_table_is_refused_with_its_line(tmp_path, text, said):
    with pytest.raises(StopError) as caught:
        tables.read(csv(tmp_path, text))
    assert said in str(caught.value)
    assert "in.csv" in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": 1}\n{"a": "x"}\n', ":2: field 'a' is a string ('x')"),
        ('{"a": 1}\n{"a": true}\n', ":2: field 'a' is a boolean"),
        ('{"a": 1}\nno\n', ":2: not JSON"),
        ('{"a": 1}\n3\n', ":2: the record is a number (3), expected an object"),
        ('{"a": ' + "9" * 400 + "}\n", ":1: the column 'a' holds Inf"),
        ('{"a":' + "[" * 100_000 + "]" * 100_000 + "}\n", ":1: nested too deeply"),
        ('{"b": 1}\n', "the file has no field 'a'"),
    ],
)
def test_json_lines_that_are_no_rows_are_refused_with_their_line(tmp_path, text, said):
    with pytest.raises(StopError) as caught:
        tables.read(csv(tmp_path, text, "in.jsonl"), asked("a"))
    assert said in str(caught.value)
    assert caught.value.hint


def test_json_is_read_by_path_by_position_and_inside_envelopes(tmp_path):
    path = csv(tmp_path, '{"m": {"x": 1}, "s": 5000}\n{"m": {"x": 2}, "s": 6000}\n', "in.jsonl")
    table = tables.read(path, asked(Field("x", "m.x"), timestamp=Timestamp("s", "ms")))
    assert (table.X.tolist(), table.t.tolist()) == ([[1], [2]], [5, 6])
    with pytest.raises(StopError, match="no field 'z'"):
        tables.read(path, asked(Field("z", "m.z")))
    path = csv(tmp_path, "[1, 2]\n[3, null]\n", "in.jsonl")
    np.testing.assert_array_equal(tables.read(path, asked("a", "b")).X, [[1, 2], [3, np.nan]])
    path = csv(tmp_path, '{"metrics": [{"name": "m", "fields": {"a": 1}, "timestamp": 7}]}\n', "in.jsonl")
    table = tables.read(path, asked("a", unwrap="telegraf"))
    assert (table.X.tolist(), table.t.tolist()) == ([[1]], [7])


def test_texts_among_numbers_are_no_error_where_they_are_a_category_or_not_asked_for(tmp_path):
    path = csv(tmp_path, lines("code,a", [(100 + i % 3 if i else "A1", a) for i, a in enumerate([*A, *B])]))
    with pytest.raises(StopError, match=r":2: the column code is numeric, but here it holds 'A1'"):
        tables.read(path)
    assert tables.read(path, asked("a")).fields == ("a",)
    table = tables.read(path, asked("a", Field("code", "code", "category")))
    assert table.X[:2, 1].tolist() == [category("code", "A1", {}), category("code", 101, {})]
    with pytest.raises(StopError, match=r":2: field 'code' is a string"):
        tables.read(path, asked("a", "code"))


def test_a_table_has_no_envelope_where_it_has_names(tmp_path):
    assert tables.read(csv(tmp_path, "a,b\n1,2\n"), asked("a", unwrap="debezium")).X.tolist() == [[1]]


@pytest.mark.parametrize(("name", "text"), [("in.csv", "a,b\n\n"), ("in.jsonl", "\n"), ("in.jsonl", "")])
def test_a_file_without_rows_is_told(tmp_path, name, text):
    with pytest.raises(StopError, match="there are no rows"):
        tables.read(csv(tmp_path, text, name))


def test_a_field_is_found_by_its_name_where_its_path_leads_nowhere(tmp_path):
    table = tables.read(csv(tmp_path, "b,a\n1,2\n"), asked(Field("a", "payload.a")))
    assert (table.fields, table.X.tolist()) == (("a",), [[2]])


def test_columns_that_only_number_the_rows_are_left_out(tmp_path):
    table = tables.read(csv(tmp_path, lines("Unnamed: 0,id,a", [(5 * i, i + 7, a) for i, a in enumerate(A)])))
    assert table.fields == ("a",)
    assert table.notes[1] == "columns left out: Unnamed: 0 (an index of the rows); id (counts the rows)"
    frame = pa.table({"a": A, "serial": np.arange(N)[::-1]}).replace_schema_metadata(
        {"pandas": json.dumps({"index_columns": ["serial"], "columns": []})}
    )
    parquet.write_table(frame, tmp_path / "in.parquet")
    assert tables.read(tmp_path / "in.parquet").fields == ("a",)
    assert tables.read(csv(tmp_path, lines("id,a", enumerate(A))), asked("id")).X[:, 0].tolist() == list(range(N))


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns", "m", "D"])
def test_typed_times_are_seconds_whatever_their_unit(tmp_path, unit):
    moments = np.array(["2024-01-01", "NaT", "2024-01-02"], dtype=f"datetime64[{unit}]")
    np.savez(tmp_path / "in.npz", X=np.ones((3, 2)), t=moments)
    np.testing.assert_array_equal(tables.read(tmp_path / "in.npz").t, [FIRST, np.nan, FIRST + 86400])


def test_typed_times_are_never_numbers(tmp_path):
    np.savez(tmp_path / "in.npz", a=A, first=MOMENTS, second=MOMENTS, took=MOMENTS - MOMENTS[0])
    table = tables.read(tmp_path / "in.npz")
    assert (table.fields, table.t) == (("a",), None)
    assert "first, second (points in time" in table.notes[1]
    assert "took (durations)" in table.notes[1]
    with pytest.raises(StopError, match="'first' holds points in time, expected numbers"):
        tables.read(tmp_path / "in.npz", asked("a", "first"))


def test_an_index_of_times_goes_before_other_columns_of_times(tmp_path):
    rows = [(f"{m}:00", f"{m}:30", a) for m, a in zip(MOMENTS, A, strict=True)]
    for header in (",sent,a", "Unnamed: 0,sent,a"):
        table = tables.read(csv(tmp_path, lines(header, rows)))
        assert (table.fields, table.t[0]) == (("a",), FIRST)
    assert tables.read(csv(tmp_path, lines("got,sent,a", rows))).t is None


@pytest.mark.parametrize("unit", [1, 1e3, 1e6, 1e9])
def test_times_as_numbers_are_left_out_where_the_name_says_so(tmp_path, unit):
    rows = [(int((FIRST + 60 * i) * unit), a) for i, a in enumerate(A)]
    table = tables.read(csv(tmp_path, lines("event_time,a", rows)))
    assert table.fields == ("a",)
    assert "event_time (points in time as numbers" in table.notes[1]
    assert tables.read(csv(tmp_path, lines("bytes,a", rows))).fields == ("bytes", "a")
    assert tables.read(csv(tmp_path, lines("response_time,a", enumerate(A[::-1])))).fields == ("a",)
    assert tables.read(csv(tmp_path, lines("response_time,a", zip(B, A, strict=True)))).fields == ("response_time", "a")


@pytest.mark.parametrize("name", ["t", "timestamp"])
def test_times_in_another_unit_are_refused_with_the_remedy(tmp_path, name):
    parquet.write_table(pa.table({"a": [1.0], name: [1704067200000]}), tmp_path / "in.parquet")
    for path in (tmp_path / "in.parquet", csv(tmp_path, f"a,{name}\n1,1704067200000\n")):
        with pytest.raises(StopError, match=r"is its unit s\?.*codec.timestamp"):
            tables.read(path)
        assert tables.read(path, asked("a", timestamp=Timestamp(name, "ms"))).t.tolist() == [FIRST]


def test_numbers_written_as_text_are_told(tmp_path):
    parquet.write_table(pa.table({"a": [1.0], "b": ["2.5"], "c": ["x"]}), tmp_path / "in.parquet")
    note = tables.read(tmp_path / "in.parquet").notes[1]
    assert note == "columns left out: b (numbers written as text); c (text)"
    with pytest.raises(StopError, match="row 1: field 'b' is a string"):
        tables.read(tmp_path / "in.parquet", asked("a", "b"))


def test_arrays_of_numpy(tmp_path):
    np.save(tmp_path / "in.npy", np.ones((2, 3), dtype=np.float32))
    assert tables.read(tmp_path / "in.npy").fields == ("x0", "x1", "x2")
    np.save(tmp_path / "in.npy", np.array([(1, 2.5)], dtype=[("a", "i4"), ("b", "f8")]))
    table = tables.read(tmp_path / "in.npy")
    assert (table.fields, table.X.tolist()) == (("a", "b"), [[1, 2.5]])
    np.savez(tmp_path / "in.npz", X=np.c_[B, A], fields=["b", "a"], y=np.arange(N) % 2)
    table = tables.read(tmp_path / "in.npz", asked("a", "b"))
    np.testing.assert_array_equal(table.X, np.c_[A, B])
    assert table.y.tolist() == [0, 1] * 10


def npy(shape):
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def zipped(member):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("X.npy", member)
    return out.getvalue()


def packed(damage):
    out = io.BytesIO()
    np.savez_compressed(out, X=np.random.default_rng(0).normal(size=(400, 3)))
    raw = bytearray(out.getvalue())
    raw[120 : 120 + len(damage)] = damage
    return bytes(raw)


@pytest.mark.parametrize(
    "raw",
    [
        packed(b"\xff\x00\xff\x00"), packed(b"")[:500], zipped(npy((10**12, 3))), zipped(npy((-1, 3))),
        zipped(b"\x93NUMPY\x01\x00\x10\x00{'descr': '<f8',"), zipped(b""), zipped(b"\x80\x04."), b"", b"PK",
        b"\x80\x04.",
    ],
)  # fmt: skip
def test_damaged_arrays_are_named(tmp_path, raw):
    (tmp_path / "in.npz").write_bytes(raw)
    with pytest.raises(StopError, match=r"in\.npz"):
        tables.read(tmp_path / "in.npz")


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"X": np.ones((3, 2)), "fields": np.array("a")}, "1 fields for 2 columns"),
        ({"X": np.ones((3, 2)), "fields": ["a", "a"]}, "'a' is named twice"),
        ({"X": np.ones((3, 2)), "t": np.ones(2)}, "do not form a table"),
        ({"X": np.ones((3, 2, 1))}, "X is 3-D"),
        ({"X": np.array([["a", "b"]])}, "no column is left to read"),
        ({"X": np.array([[1.0, np.inf]])}, "row 1: the column 'x1' holds Inf"),
        ({"a": np.ones(3), "b": np.ones(4)}, "do not form a table"),
        ({}, "do not form a table"),
    ],
)
def test_arrays_that_are_no_table_are_refused(tmp_path, arrays, said):
    np.savez(tmp_path / "in.npz", **arrays)
    with pytest.raises(StopError) as caught:
        tables.read(tmp_path / "in.npz")
    assert said in str(caught.value)


def test_damaged_compression_is_named(tmp_path):
    whole = gzip.compress(b"a,b\n" + b"1,2\n" * 1000)
    for raw in (whole[:-20], whole[:20], b"a,b\n1,2\n"):
        (tmp_path / "in.csv.gz").write_bytes(raw)
        with pytest.raises(StopError, match=r"in\.csv\.gz"):
            tables.read(tmp_path / "in.csv.gz")
