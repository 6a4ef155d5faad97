import numpy as np

from streamgmm.bus.headers import HeaderColumn

# name "a" = b"xy"; name "é" = null; nothing; a name that is not UTF-8
BYTES = b"\x02a\x04xy" + b"\x04\xc3\xa9\x01" + b"\x02\xff\x00"
COLUMN = HeaderColumn(np.frombuffer(BYTES, dtype=np.uint8), np.array([0, 9, 9]), np.array([2, 0, 1]))


def test_headers_are_read_where_they_stand():
    assert len(COLUMN) == 3
    assert list(COLUMN) == [[("a", b"xy"), ("é", None)], [], [("\ufffd", b"")]]
    assert COLUMN[-1] == COLUMN[2]


def test_a_slice_is_a_column():
    assert list(COLUMN[1:]) == list(COLUMN)[1:]


def test_long_varints():
    name, value = "n" * 100, bytes(20_000)
    data = b"\xc8\x01" + name.encode() + b"\xc0\xb8\x02" + value
    column = HeaderColumn(np.frombuffer(data, dtype=np.uint8), np.array([0]), np.array([1]))
    assert column[0] == [(name, value)]
