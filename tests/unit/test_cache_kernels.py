"""Kept machine code never breaks a start, is its owner's alone, and is not read where others could have written it."""

import importlib.util
import itertools
import os
import stat

import numba
import numpy as np
import pytest

from streamgmm import cache_kernels

MODULE = """
from streamgmm.cache_kernels import njit

@njit("float64(float64)", nogil=True, cache=True, error_model="numpy")
def double(x):
    return 2.0 * x
"""
NUMBERS = itertools.count()


@pytest.fixture
def place(tmp_path, monkeypatch):
    (tmp_path / "kept_kernels.py").write_text(MODULE)
    monkeypatch.setattr(cache_kernels, "_said", set())
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    return tmp_path


def start(place):
    """Import the module as another process would, and use its kernel."""
    spec = importlib.util.spec_from_file_location(f"kept_kernels_{next(NUMBERS)}", place / "kept_kernels.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.double(21.0) == 42.0
    assert module.double.signatures == [(numba.float64,)]
    return sum(module.double.stats.cache_hits.values())


def kept(place):
    return [path for path in (place / "__pycache__").iterdir() if path.suffix in {".nbi", ".nbc"}]


def test_code_is_kept(place, caplog):
    assert start(place) == 0
    assert start(place) == 1
    assert not caplog.records


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
@pytest.mark.parametrize("damage", ["cut", "empty", "garbage", "foreign pickle", "folder"])
def test_damage_is_compiled_anew_and_said_once(place, caplog, suffix, damage):
    start(place)
    victim = next(path for path in kept(place) if path.suffix == suffix)
    whole = victim.read_bytes()
    if damage == "folder":
        victim.unlink()
        victim.mkdir()
    else:
        pieces = {
            "cut": whole[: len(whole) // 2],
            "empty": b"",
            "garbage": b"\xff" * 99,
            "foreign pickle": b"\x80\x04N.",
        }
        victim.write_bytes(pieces[damage])
    start(place)
    assert len([r for r in caplog.records if r.name == cache_kernels.__name__]) <= 2
    if damage != "folder":
        assert start(place) == 1


def test_nothing_is_kept_where_there_is_no_place(place, caplog, monkeypatch):
    monkeypatch.setattr(numba.core.caching.CacheImpl, "_locator_classes", [])
    for _ in range(2):
        assert start(place) == 0
    assert len(caplog.records) == 1
    assert "every start compiles them" in caplog.text
    assert "NUMBA_CACHE_DIR" in caplog.text


def test_a_disk_that_refuses_costs_the_cache_only(place, caplog, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(numba.core.caching.IndexDataCacheFile, "save", full)
    assert start(place) == 0
    assert "No space left" in caplog.text


@pytest.mark.parametrize("umask", [0o000, 0o002, 0o022, 0o777])
def test_files_are_the_owners_alone_whatever_the_umask(place, umask):
    before = os.umask(umask)
    try:
        start(place)
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in kept(place)} == {0o600}
    assert not stat.S_IMODE((place / "__pycache__").stat().st_mode) & stat.S_IWOTH


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
def test_what_others_could_have_written_is_not_read(place, caplog, suffix):
    start(place)
    victim = next(path for path in kept(place) if path.suffix == suffix)
    victim.chmod(0o666)
    assert start(place) == 0
    assert "can be written by others" in caplog.text
    assert start(place) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("what", ["folder", "file"])
def test_what_belongs_to_another_user_is_not_read(place, caplog, what):
    start(place)
    os.chown(place / "__pycache__" if what == "folder" else kept(place)[0], 12345, 12345)
    assert start(place) == 0
    assert "belongs to another user" in caplog.text


def test_kernels_give_the_same_with_and_without_a_signature():
    double = cache_kernels.njit(nogil=True)(lambda x: 2.0 * x)
    np.testing.assert_array_equal(double(np.arange(3.0)), [0.0, 2.0, 4.0])
