"""The file source: lines and rows, offsets that survive, and files that grow or change."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgmm.codecs import CodecSettings, Field
from streamgmm.codecs import json as json_codec
from streamgmm.errors import ConfigError, StopError
from streamgmm.records import Position, Rebalance, TopicPartition
from streamgmm.sources import Resume, file
from streamgmm.sources._csv import as_json

if TYPE_CHECKING:
    from pathlib import Path

NOWHERE = Resume({}, 0)


def open_source(path: Path, resume: Resume = NOWHERE, **settings: object) -> file.FileSource:
    source = file.build(file.FileSettings(path, **settings))
    source.start(resume)
    return source


def drain(source: file.FileSource) -> list[tuple[int, bytes | None]]:
    taken = []
    while not source.at_end():
        batch = source.poll(0)
        taken += [(int(batch.offset[i]), batch.value[i]) for i in range(len(batch))]
    return taken


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"[0]\n[1]\r\n\n[3]\n[4]")
    return path


@pytest.mark.parametrize("rows", [1, 2, 100])
def test_every_line_is_a_record_whose_offset_is_its_number(lines, rows):
    source = open_source(lines, max_rows=rows)
    assert source.lag() == {TopicPartition("in.jsonl", 0): 5}
    assert drain(source) == [(0, b"[0]"), (1, b"[1]"), (3, b"[3]"), (4, b"[4]")]
    assert source.lag() == {TopicPartition("in.jsonl", 0): 0}
    assert source.rebalances() == [Rebalance("assigned", (TopicPartition("in.jsonl", 0),))]
    source.close(1)
    source.close(1)


def test_a_restart_goes_on_after_the_committed_line(lines):
    partition = TopicPartition("in.jsonl", 0)
    source = open_source(lines, max_rows=2)
    batch = source.poll(0)
    assert batch.next_offsets == {partition: 2}
    assert source.commit(batch.next_offsets)
    source.close(1)
    again = open_source(lines)
    assert again.starts()[partition][:4] == (2, 0, 2, 0)
    assert drain(again) == [(3, b"[3]"), (4, b"[4]")]
    again.close(1)
    replayed = open_source(lines, Resume({partition: Position(1, 0)}, 10))
    assert replayed.starts()[partition][:4] == (1, 0, 2, 0)
    assert drain(replayed)[0] == (1, b"[1]")
    replayed.close(1)


def test_offsets_are_kept_where_they_are_asked_to(lines, tmp_path):
    path = tmp_path / "offsets.json"
    source = open_source(lines, offsets_path=path)
    source.commit(source.poll(0).next_offsets)
    source.close(1)
    assert json.loads(path.read_bytes())["offsets"] == {"in.jsonl": 5}
    done = open_source(lines, offsets_path=path)
    assert done.at_end()
    done.close(1)


def test_a_file_that_grows_is_read_on_line_by_whole_line(lines):
    source = open_source(lines)
    drain(source)
    with lines.open("ab") as out:
        out.write(b"\n[5")
        out.flush()
        assert len(source.poll(0)) == 0
        out.write(b"]\n")
    batch = source.poll(0)
    assert [batch.value[i] for i in range(len(batch))] == [b"[5]"]
    assert batch.offset.tolist() == [5], "the line feed ended line 4"
    assert source.lag() == {TopicPartition("in.jsonl", 0): 0}
    assert source.commit(batch.next_offsets)
    source.close(1)
    again = open_source(lines)
    assert again.at_end()
    again.close(1)


def test_a_file_that_shrinks_stops(lines):
    source = open_source(lines)
    drain(source)
    lines.write_bytes(b"[0]\n")
    with pytest.raises(StopError, match="shrunk"):
        source.poll(0)
    source.close(1)


def test_a_file_that_was_moved_away_is_read_on_and_counted(lines):
    source = open_source(lines, max_rows=2)
    source.poll(0)
    moved = lines.rename(lines.with_name("in.jsonl.1"))
    with moved.open("ab") as out:
        out.write(b"\n[5]\n[6]\n")
    assert [offset for _ in range(3) for offset in source.poll(0).offset.tolist()] == [3, 4, 5, 6]
    assert source.lag() == {TopicPartition("in.jsonl", 0): 0}
    source.close(1)


def test_a_file_that_was_replaced_is_read_to_its_end_before_that_stops(lines):
    source = open_source(lines, max_rows=2)
    source.poll(0)
    moved = lines.rename(lines.with_name("in.jsonl.1"))
    lines.write_bytes(b"[100]\n" * 50)
    with moved.open("ab") as out:
        out.write(b"\n[5]\n")
    assert [offset for _ in range(2) for offset in source.poll(0).offset.tolist()] == [3, 4, 5]
    assert source.lag() == {TopicPartition("in.jsonl", 0): 0}
    with pytest.raises(StopError, match="replaced") as caught:
        source.poll(0)
    assert "restart: the new file" in caught.value.hint
    source.close(1)


def test_blank_lines_alone_move_the_offset(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"\n\r\n\n")
    source = open_source(path)
    batch = source.poll(0)
    assert len(batch) == 0
    assert batch.next_offsets == {TopicPartition("in.jsonl", 0): 3}
    source.close(1)


def test_offsets_beyond_the_end_stop(lines):
    source = open_source(lines)
    source.commit({TopicPartition("in.jsonl", 0): 99})
    source.close(1)
    with pytest.raises(StopError, match="99 lines") as caught:
        open_source(lines)
    assert "delete the offsets file" in caught.value.hint


@pytest.mark.parametrize(
    "content", ["", "[]", '{"offsets": 3}', '{"offsets": {"in.jsonl": -1}}', '{"offsets": {"in.jsonl": "1"}}']
)
def test_a_damaged_offsets_file_stops(lines, content):
    lines.with_name("in.jsonl.offsets.json").write_text(content)
    with pytest.raises(StopError, match="offsets file"):
        open_source(lines)


def test_polls_are_bounded_in_bytes_and_so_are_lines(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"".join(b"[%d]\n" % i for i in range(100)))
    source = open_source(path, max_bytes=10)
    assert len(source.poll(0)) == 3
    assert len(drain(source)) == 97
    source.close(1)
    path.write_bytes(b"x" * 11)
    longer = open_source(path, max_bytes=10)
    with pytest.raises(StopError, match="longer than 10"):
        longer.poll(0)
    longer.close(1)


def test_pause_hands_out_nothing(lines):
    source = open_source(lines)
    source.pause()
    assert len(source.poll(0)) == 0
    source.resume()
    assert len(source.poll(60)) == 4
    source.close(1)


def test_what_cannot_be_read_is_an_error_of_ours(tmp_path):
    with pytest.raises(StopError, match="cannot read"):
        open_source(tmp_path / "gone.jsonl")
    with pytest.raises(ConfigError, match="neither"):
        file.build(file.FileSettings(tmp_path / "in.parquet"))


def test_csv_rows_are_objects_by_the_header(tmp_path):
    path = tmp_path / "in.csv"
    path.write_bytes('﻿a,"b ""q""",c\n1,2.50,"x,y"\n,nan,007\n1e999,-inf,+.5\n1,2\n\n3,4,é\n'.encode())
    source = open_source(path)
    values = dict(drain(source))
    source.close(1)
    assert json.loads(values[0]) == {"a": 1, 'b "q"': 2.5, "c": "x,y"}
    assert json.loads(values[1]) == {"a": None, 'b "q"': None, "c": "007"}
    assert values[2] == b'{"a":1e999,"b \\"q\\"":-Infinity,"c":0.5}'
    assert values[3] == b"1,2"
    assert json.loads(values[5])["c"] == "é"
    assert set(values) == {0, 1, 2, 3, 5}


def test_a_text_that_is_not_utf8_matters_only_where_it_is_asked_for(tmp_path):
    path = tmp_path / "in.csv"
    path.write_bytes(b"a,place\n1,K\xfcche\n2,Bad\n")
    source = open_source(path)
    batch = source.poll(0.0)
    source.close(1)
    number, place = Field("a", "a"), Field("place", "place", "category")
    found = json_codec.build(CodecSettings((number,))).decode(batch)
    assert (found.X.tolist(), found.rejects) == ([[1.0], [2.0]], ())
    found = json_codec.build(CodecSettings((number, place))).decode(batch)
    assert [(r.record, r.reason) for r in found.rejects] == [(0, "schema")]


def test_a_byte_order_mark_is_no_part_of_a_record(tmp_path):
    path = tmp_path / "in.JSONL"
    path.write_bytes(b"\xef\xbb\xbf[0]\n[1]\n\xef\xbb\xbf[2]\n")
    source = open_source(path)
    assert drain(source) == [(0, b"[0]"), (1, b"[1]"), (2, b"[2]")]
    source.close(1)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"a,b,a\n1,2,3\n", "'a' is named twice"),
        (b"\n1,2\n", "there is no header"),
        ("a,b\n1,2\n".encode("utf-16"), "UTF-16"),
        (b"a\tb\n1\t2\n", "not separated by commas"),
    ],
)
def test_a_csv_without_a_header_of_its_own_names_stops_the_start(tmp_path, raw, said):
    path = tmp_path / "in.csv"
    path.write_bytes(raw)
    with pytest.raises(StopError, match=said):
        open_source(path)


def test_marks_of_missing_cells_are_null(tmp_path):
    path = tmp_path / "in.CSV"
    path.write_text("a, b ,c\nNULL,NA,none\n<NA>,\\N,n/a\nNone,nan, null \n")
    source = open_source(path)
    values = [json.loads(value) for _, value in drain(source)]
    source.close(1)
    assert values[0] == {"a": None, "b": None, "c": "none"}
    assert values[1:] == [dict.fromkeys("abc")] * 2


def test_a_compressed_file_is_refused_with_the_remedy(tmp_path):
    with pytest.raises(ConfigError, match="unpack it first"):
        file.build(file.FileSettings(tmp_path / "in.csv.gz"))


def test_csv_numbers_reach_the_codec_exactly(tmp_path, rng):
    numbers = rng.normal(size=(50, 2)) * 10.0 ** rng.integers(-300, 300, size=(50, 2))
    path = tmp_path / "in.csv"
    path.write_text("a,b\n" + "".join(f"{a!r},{b!r}\n" for a, b in numbers.tolist()))
    source = open_source(path)
    codec = json_codec.build(CodecSettings((Field("a", "a"), Field("b", "b"))))
    np.testing.assert_array_equal(codec.decode(source.poll(0)).X, numbers)
    source.close(1)


@given(st.binary(max_size=60))
def test_any_line_becomes_json_or_stays_as_it_is(raw):
    line = raw.replace(b"\n", b"").replace(b"\r", b"")
    value = as_json(line, ("a", "b"))
    assert value == line or set(json.loads(value)) == {"a", "b"}


def test_a_file_is_known_again_when_it_has_grown_and_not_when_it_was_written_anew(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"[1]\n[2]\n")
    source = open_source(path)
    source.poll(0)
    source.commit({TopicPartition("in.jsonl", 0): 2})
    source.close(1)
    with path.open("ab") as out:
        out.write(b"[3]\n" * 5000)
    grown = open_source(path)
    assert grown.starts()[TopicPartition("in.jsonl", 0)].offset == 2
    assert grown.events() == []
    grown.close(1)
    path.write_bytes(b"[4]\n[5]\n[6]\n")  # in place: the same inode
    anew = open_source(path)
    assert anew.poll(0).offset.tolist() == [0, 1, 2]
    (event,) = anew.events()
    assert event.labels == {"reason": "recreated"}
    anew.close(1)
