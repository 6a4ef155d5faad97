"""The compiled readers of text: numbers, strings, categories and times against Python's own."""

import json
import random
import shutil
import subprocess
import sys
import textwrap
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from batches import record_batch
from codec_payloads import ODD, SPELLINGS, TIMES
from hypothesis import given, settings
from hypothesis import strategies as st

import streamgmm
from streamgmm.codecs import CodecSettings, Field, Timestamp
from streamgmm.codecs._keys import tables
from streamgmm.codecs._payload import category, seconds
from streamgmm.codecs.json_kernels import decode_json

X = (Field("x", "x"),)
SEED = 20240501


def read(declared, values):
    """Return rows, times, and which were read without care."""
    column = record_batch(values).value
    return tables(declared).reader(decode_json)(column.buffer, column.start, column.length)


def one(declared, value):
    """Return the row and the time of one record, or None where it is for the careful reading."""
    rows, time, sure = read(declared, [value])
    return (rows[0].tolist(), float(time[0])) if sure[0] else None


@pytest.mark.parametrize("spelling", range(len(SPELLINGS)))
def test_fifty_thousand_numbers_of_each_spelling_to_the_bit(spelling):
    rng = random.Random(SEED + spelling)
    texts = [SPELLINGS[spelling](rng) for _ in range(50_000)]
    rows, _, sure = read(CodecSettings(X), [b"[%s]" % text.encode() for text in texts])
    expected = np.array([float(text) for text in texts])
    assert (rows[sure, 0].view(np.int64) == expected[sure].view(np.int64)).all()
    assert sure.mean() > 0.97


@pytest.mark.parametrize("text", [value.decode("latin-1") for value in ODD])
def test_odd_numbers_are_read_as_python_does_or_left(text):
    found = one(CodecSettings(X), f"[{text}]".encode("latin-1"))
    if found is not None:
        value = json.loads(text)
        assert repr(found[0][0]) == repr(float("nan" if value is None else value))


@given(
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["{!r}", "{:.17e}", "{:.25g}", "{:.0f}", "{:.6f}"]),
)
def test_any_float_in_any_spelling(value, spelling):
    text = spelling.format(value)
    found = one(CodecSettings(X), f'{{"x":{text}}}'.encode())
    assert found is None or repr(found[0][0]) == repr(float(text))


@given(st.text(max_size=300), st.booleans())
def test_any_category_has_the_number_that_python_gives_it(text, ascii_only):
    declared = CodecSettings((Field("s", "s", "category"),))
    payload = json.dumps({"s": text}, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    found = one(declared, payload)
    if found is None:
        assert len(text) > 200 or any(0xD800 <= ord(c) < 0xE000 for c in text)
    else:
        assert found[0] == [category("s", text, {})]


@pytest.mark.parametrize("value", [0, 7, -7, 10**17, True, False])
def test_other_categories_are_their_text(value):
    declared = CodecSettings((Field("s", "s", "category"),))
    assert one(declared, json.dumps({"s": value}).encode())[0] == [category("s", value, {})]


@pytest.mark.parametrize(("unit", "text"), [(unit, text) for unit, texts in TIMES.items() for text in texts])
def test_times_are_what_python_makes_of_them_or_left(unit, text):
    found = one(CodecSettings(X, Timestamp("t", unit)), b'{"x":1,"t":%s}' % text)
    if found is not None:
        assert repr(found[1]) == repr(seconds(json.loads(text), unit))


@given(
    st.datetimes(datetime(1970, 1, 1), datetime(2199, 12, 31)),  # noqa: DTZ001 - the offset comes below
    st.sampled_from(["", "Z", "+00:00", "-05:30", "+14:00"]),
    st.sampled_from(["seconds", "milliseconds", "microseconds"]),
    st.sampled_from("T "),
)
def test_the_ordinary_rfc_3339_time_is_read(moment, offset, digits, between):
    text = moment.isoformat(between, digits) + offset
    found = one(CodecSettings(X, Timestamp("t", "iso")), json.dumps({"x": 1, "t": text}).encode())
    assert found is not None
    assert found[1] == seconds(text, "iso")


@given(st.integers(0, 2**63 - 1), st.sampled_from(["s", "ms", "us", "ns"]))
def test_integers_of_any_unit_are_rounded_once(value, unit):
    found = one(CodecSettings(X, Timestamp("t", unit)), json.dumps({"x": 1, "t": value}).encode())
    if found is not None:
        assert found[1] == seconds(value, unit)
    now = datetime(2024, 5, 1, tzinfo=UTC) + timedelta(microseconds=value % 10**12)
    micros = int(now.timestamp() * 1e6)
    assert one(CodecSettings(X, Timestamp("t", "us")), json.dumps({"x": 1, "t": micros}).encode()) is not None


keys = st.text(st.sampled_from('ab.é"\\\n😀0'), max_size=12)


@settings(max_examples=200)
@given(st.dictionaries(keys, st.integers(-5, 5), min_size=1, max_size=8), st.booleans(), st.randoms())
def test_any_keys_in_any_spelling_and_order(found, ascii_only, rng):
    wanted = [key for key in found if "." not in key]
    if not wanted:
        return
    declared = CodecSettings(tuple(Field(f"f{i}", key) for i, key in enumerate(wanted)))
    pairs = list(found.items())
    records = []
    for _ in range(4):
        rng.shuffle(pairs)
        records.append(json.dumps(dict(pairs), ensure_ascii=ascii_only).encode())
    rows, _, sure = read(declared, records)
    assert sure.all()
    assert rows.tolist() == [[found[key] for key in wanted]] * 4


def test_more_keys_than_are_remembered_by_their_place():
    names = [f"sensor {i}" for i in range(1000)]
    declared = CodecSettings(tuple(Field(name, name) for name in names[::3]))
    record = json.dumps({name: i for i, name in enumerate(names)}).encode()
    rows, _, sure = read(declared, [record] * 3)
    assert sure.all()
    assert rows.tolist() == [list(range(0, 1000, 3))] * 3


def test_slices_that_are_not_in_the_buffer_are_left():
    buffer = np.frombuffer(b"[1]", dtype=np.uint8)
    for start, length in [(-1, 3), (0, 4), (3, 1), (2**62, 2**62), (0, -1)]:
        quick = tables(CodecSettings(X)).reader(decode_json)
        assert not quick(buffer, np.array([start]), np.array([length]))[2].any()


def test_machine_code_of_older_helpers_is_not_used(tmp_path):
    source = Path(streamgmm.__file__).parent
    package = tmp_path / "streamgmm"
    package.mkdir()
    for name in ("__init__.py", "errors.py", "records.py", "cache_kernels.py"):
        shutil.copy(source / name, package)
    (package / "codecs").mkdir()
    (package / "codecs" / "__init__.py").touch()
    helper = shutil.copy(source / "codecs" / "text_kernels.py", package / "codecs")
    (package / "codecs" / "some_kernels.py").write_text(
        "from streamgmm.codecs.text_kernels import kernel\n@kernel('float64(float64)')\ndef half(x): return x / 2\n"
    )
    program = textwrap.dedent("""
        from streamgmm.codecs.some_kernels import half
        print(sum(half.stats.cache_hits.values()), sum(half.stats.cache_misses.values()))
    """)

    def hits_and_misses():
        environment = {"PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PATH": ""}
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return done.stdout.split()

    assert hits_and_misses() == ["0", "1"]
    assert hits_and_misses() == ["1", "0"]
    Path(helper).write_text(Path(helper).read_text() + "\n# changed\n")
    assert hits_and_misses() == ["0", "1"]
