"""The file sink: durable lines, whole after crashes, full disks and rotation."""

from __future__ import annotations

import base64
import errno
import json
import os
from typing import TYPE_CHECKING

import pytest

from streamgmm.errors import StopError
from streamgmm.records import OutputRecord
from streamgmm.sinks import file

if TYPE_CHECKING:
    from pathlib import Path

ONE, TWO = OutputRecord(b'{"id": 1}'), OutputRecord(b'{"id": 2}')


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


def open_sink(path: Path, **settings: object) -> file.FileSink:
    return file.build(file.FileSettings(path, **settings))


def test_nothing_is_there_before_the_flush_and_all_after(path):
    sink = open_sink(path, name="audit")
    sink.write([ONE])
    assert path.read_bytes() == b""
    sink.write([TWO])
    assert sink.flush(1)
    assert path.read_text() == '{"id": 1}\n{"id": 2}\n'
    assert sink.name == "audit"
    sink.write([ONE])
    sink.close(1)
    sink.close(1)
    assert path.read_text().count("\n") == 3


def test_a_dead_letter_keeps_bytes_key_and_headers(path):
    hostile = b"\xff\n\x00"
    sink = open_sink(path)
    sink.write(
        [OutputRecord(hostile, b"k", (("streamgmm-reason", b"decode"), ("raw", b"\xfe")), "vectors-dead-letters")]
    )
    sink.close(1)
    (line,) = path.read_bytes().splitlines()
    letter = json.loads(line)
    assert base64.b64decode(letter["value"]["base64"]) == hostile
    assert letter["topic"] == "vectors-dead-letters"
    assert letter["key"] == "k"
    assert letter["headers"] == [["streamgmm-reason", "decode"], ["raw", {"base64": "/g=="}]]


@pytest.mark.parametrize(
    "record",
    [
        OutputRecord(b"two\nlines"),
        OutputRecord(b"carriage\rreturn"),
        OutputRecord(b"\xff"),
        OutputRecord(b"plain", topic="other"),
        OutputRecord(b"plain", None, (("streamgmm-reason", b"schema"),)),
    ],
)
def test_what_is_not_one_plain_line_goes_into_an_envelope(path, record):
    sink = open_sink(path)
    sink.write([record])
    sink.close(1)
    (line,) = path.read_bytes().splitlines()
    assert json.loads(line)["value"] in (record.value.decode(errors="replace"), {"base64": "/w=="})


@pytest.mark.parametrize(
    ("left", "expected"),
    [
        ('{"id": 0}\n{"id": ', '{"id": 0}\n'),
        ('{"id": 0}\n{"id": 9}', '{"id": 0}\n{"id": 9}\n'),
        ('{"id": 0}\n', '{"id": 0}\n'),
        ('{"half": "' + "x" * 300_000, ""),
        ('{"id": 0}\n{"half": "' + "x" * 300_000, '{"id": 0}\n'),
        ("notes of a user", "notes of a user\n"),
        ('{"b": NaN}', '{"b": NaN}\n'),
        ('{"b": -Infinity, "c": [1, 2', '{"b": -Infinity, "c": [1, 2\n'),
        ("{'a': 1}", "{'a': 1}\n"),
        ('{"a": 1} // done', '{"a": 1} // done\n'),
        ("{{ template }}", "{{ template }}\n"),
        ("", ""),
    ],
)
def test_the_last_line_is_mended_after_a_crash(path, left, expected):
    path.write_text(left)
    sink = open_sink(path)
    sink.write([ONE])
    sink.close(1)
    assert path.read_text() == expected + '{"id": 1}\n'


def test_every_beginning_of_a_line_of_ours_is_cut_off(path):
    whole = b'{"id": "a/0/1/0", "n": -1.5e-7, "t": true, "z": null, "s": "\\u00e9\\n \xc3\xa9", "l": [1, 0.25]}'
    for end in range(1, len(whole)):
        path.write_bytes(whole[:end])
        open_sink(path).close(1)
        assert path.read_bytes() == b"", whole[:end]


@pytest.mark.parametrize("step", ["write", "fsync"])
def test_a_full_disk_leaves_whole_lines_and_the_next_flush_writes_them_once(path, monkeypatch, step):
    sink = open_sink(path)
    sink.write([ONE])
    sink.flush(1)
    sink.write([TWO])
    real = os.write

    def half(descriptor: int, data: bytes) -> int:
        real(descriptor, data[:4])
        raise OSError(errno.ENOSPC, "full")

    def no_sync(_: int) -> None:
        raise OSError(errno.EIO, "broken")

    with monkeypatch.context() as broken:
        broken.setattr(file.os, step, half if step == "write" else no_sync)
        assert not sink.flush(1)
    assert path.read_text() == '{"id": 1}\n'
    sink.close(1)
    assert path.read_text() == '{"id": 1}\n{"id": 2}\n'


def test_a_disk_that_refuses_to_undo_a_write_is_asked_again_before_the_next(path, monkeypatch):
    sink = open_sink(path)
    sink.write([ONE])
    real = os.write

    def half(descriptor: int, data: bytes) -> int:
        real(descriptor, data[:4])
        raise OSError(errno.ENOSPC, "No space left on device")

    def no_truncation(*_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(file.os, "write", half)
        broken.setattr(file.os, "ftruncate", no_truncation)
        assert not sink.flush(1)
        assert not sink.flush(1)
    assert sink.problem == "Input/output error"
    assert sink.flush(1)
    assert sink.problem == ""
    sink.close(1)
    assert path.read_text() == '{"id": 1}\n'


def test_a_rotation_that_finds_no_room_for_the_new_file_is_tried_again(path, monkeypatch):
    sink = open_sink(path)
    sink.write([ONE])
    sink.flush(1)
    rotated = path.rename(path.with_suffix(".1"))
    sink.write([TWO])

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(file.os, "open", full)
        assert not sink.flush(1)
    assert sink.problem == "No space left on device"
    assert sink.flush(1)
    sink.close(1)
    assert (rotated.read_text(), path.read_text()) == ('{"id": 1}\n', '{"id": 2}\n')


def test_what_the_disk_did_not_take_is_said_at_the_close(path, monkeypatch, caplog):
    sink = open_sink(path)
    sink.write([ONE])

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(file.os, "fsync", full)
    sink.close(1)
    assert "is closed; 1 records could not be written: No space left on device" in caplog.text


def test_short_writes_are_continued(path, monkeypatch):
    real = os.write
    monkeypatch.setattr(file.os, "write", lambda descriptor, data: real(descriptor, data[:3]))
    sink = open_sink(path)
    sink.write([ONE, TWO])
    sink.close(1)
    assert path.read_text() == '{"id": 1}\n{"id": 2}\n'


@pytest.mark.parametrize("replaced", [True, False])
def test_rotation_is_followed(path, replaced):
    sink = open_sink(path)
    sink.write([ONE])
    sink.flush(1)
    rotated = path.rename(path.with_suffix(".1"))
    if replaced:
        path.touch()
    sink.write([TWO])
    sink.close(1)
    assert rotated.read_text() == '{"id": 1}\n'
    assert path.read_text() == '{"id": 2}\n'


def test_a_folder_that_is_not_there_stops(tmp_path):
    with pytest.raises(StopError, match="cannot append") as caught:
        open_sink(tmp_path / "nowhere" / "out.jsonl")
    assert "folder" in caught.value.hint
    closed = open_sink(tmp_path / "out")
    closed.close(1)
    closed.write([ONE])
    with pytest.raises(StopError, match="closed"):
        closed.flush(1)
