"""Snapshots: what goes in comes out, damage is seen, and the folder has one owner."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from streamgmm.errors import RetryableError, SnapshotError, StopError
from streamgmm.snapshots import Snapshot, SnapshotStore, store
from streamgmm.snapshots import format as layout

HOLDER = """
import sys
from streamgmm.snapshots import SnapshotStore
lock = SnapshotStore(sys.argv[1]).lock()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


def snapshot(i: int = 0) -> Snapshot:
    return Snapshot({"means": np.arange(6.0).reshape(2, 3) + i, "count": np.array(i)}, {"i": i})


def test_a_snapshot_comes_back_as_it_was(folder):
    saved = Snapshot(
        {"x": np.array([[np.nan, 1e308]]), "file": np.array([1], dtype=np.int32), "a.b/c": np.empty((0, 3))},
        {"nested": {"list": [1, 2.5, None]}, "seed": 2**70},
    )
    name = SnapshotStore(folder).save(saved)
    loaded = SnapshotStore(folder).load(name)
    assert loaded.manifest == saved.manifest
    assert loaded.name == name
    for key, array in saved.arrays.items():
        np.testing.assert_array_equal(loaded.arrays[key], array)
        assert loaded.arrays[key].dtype == array.dtype


def test_manifests_take_what_python_calls_plain(folder):
    manifest = {
        "pair": (1, 2),
        "number": np.float64(0.1),
        "flag": np.bool_(1),
        "keys": {10: "a", 9: "b"},
        "nan": np.nan,
    }
    loaded = SnapshotStore(folder).load(SnapshotStore(folder).save(Snapshot({}, manifest)))
    assert loaded.manifest["pair"] == [1, 2]
    assert loaded.manifest["number"] == 0.1
    assert loaded.manifest["flag"] is True
    assert loaded.manifest["keys"] == {"10": "a", "9": "b"}
    assert np.isnan(loaded.manifest["nan"])


@pytest.mark.parametrize("bad", [{"x": object()}, {"x": {1, 2}}, {"x": np.arange(3)}])
def test_what_json_cannot_say_is_refused(folder, bad):
    with pytest.raises(SnapshotError):
        SnapshotStore(folder).save(Snapshot({}, bad))
    assert SnapshotStore(folder).newest() is None


def test_object_arrays_are_refused(folder):
    with pytest.raises(SnapshotError):
        SnapshotStore(folder).save(Snapshot({"x": np.array([object()])}))


def test_the_newest_serves_and_the_last_few_are_kept(folder):
    kept = SnapshotStore(folder, keep=3)
    names = [kept.save(snapshot(i)) for i in range(6)]
    assert kept.names() == tuple(names[-3:])
    assert kept.newest().manifest == {"i": 5}
    assert {p.name for p in folder.glob("*.npz")} == {f"{n}.npz" for n in names[-3:]}


def test_names_grow_and_may_carry_a_label(folder):
    first = SnapshotStore(folder).save(snapshot())
    second = SnapshotStore(folder).save(snapshot(), "12.34")
    assert first < second
    assert second.endswith("-12.34")
    assert SnapshotStore(folder).names() == (first, second)
    with pytest.raises(SnapshotError):
        SnapshotStore(folder).save(snapshot(), "../evil")


def test_a_name_is_not_a_path(folder):
    SnapshotStore(folder).save(snapshot())
    for name in ("../state/00000001", "CURRENT", "", "/etc/passwd"):
        with pytest.raises(SnapshotError, match="not the name"):
            SnapshotStore(folder).load(name)


def test_files_are_the_owners_alone(folder):
    previous = os.umask(0)
    try:
        SnapshotStore(folder).save(snapshot())
        SnapshotStore(folder / "a" / "b" / "c").save(snapshot())
    finally:
        os.umask(previous)
    made = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    assert [stat.S_IMODE(path.stat().st_mode) for path in made] == [0o700] * 4
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_file()} == {0o600}


def test_any_flipped_bit_is_seen_and_the_snapshot_before_serves(folder, rng, caplog):
    kept = SnapshotStore(folder)
    kept.save(snapshot(1))
    name = kept.save(snapshot(2))
    for file in (folder / f"{name}.json", folder / f"{name}.npz"):
        intact = file.read_bytes()
        for position in rng.integers(len(intact) * 8, size=150):
            damaged = bytearray(intact)
            damaged[position // 8] ^= 1 << (position % 8)
            # Blanks between tokens may change without changing what the manifest says.
            if file.suffix == ".json" and json_or_none(damaged) == json.loads(intact):
                continue
            file.write_bytes(damaged)
            with caplog.at_level(logging.WARNING), pytest.raises(SnapshotError):
                kept.verify(name)
            assert kept.newest().manifest == {"i": 1}
        file.write_bytes(intact)
    assert kept.newest().manifest == {"i": 2}
    assert name in caplog.text


def json_or_none(raw: bytearray) -> object:
    try:
        return json.loads(raw)
    except ValueError:
        return None


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"null", b'{"name": 3}', b'{"name": "../x"}', b"\xff", b'{"name": "00000009"}']
)
def test_without_current_the_newest_name_serves(folder, content):
    kept = SnapshotStore(folder)
    kept.save(snapshot(1))
    kept.save(snapshot(2))
    (folder / "CURRENT.json").write_bytes(content)
    assert kept.newest().manifest == {"i": 2}
    (folder / "CURRENT.json").unlink()
    assert kept.newest().manifest == {"i": 2}


def test_a_truncated_file_is_damage(folder):
    kept = SnapshotStore(folder)
    kept.save(snapshot(1))
    name = kept.save(snapshot(2))
    for suffix in ("npz", "json"):
        file = folder / f"{name}.{suffix}"
        whole = file.read_bytes()
        for size in (0, 1, len(whole) // 2, len(whole) - 1):
            file.write_bytes(whole[:size])
            assert kept.newest().manifest == {"i": 1}
        file.write_bytes(whole)


def test_a_newer_format_is_refused_with_a_hint_and_not_skipped(folder, monkeypatch):
    kept = SnapshotStore(folder)
    kept.save(snapshot(1))
    with monkeypatch.context() as newer:
        newer.setattr(layout, "FORMAT", 2)
        kept.save(snapshot(2))
    with pytest.raises(SnapshotError, match="format 2") as caught:
        kept.newest()
    assert "newer streamgmm" in caught.value.hint


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_a_full_disk_leaves_the_old_one_serving(folder, monkeypatch, step):
    kept = SnapshotStore(folder)
    kept.save(snapshot(1))

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as broken:
        if step == "fsync":
            broken.setattr(store.os, "fsync", full)
        elif step == "replace":
            broken.setattr(Path, "replace", full)
        else:
            broken.setattr(store.os, "fdopen", full)
        with pytest.raises(RetryableError, match="No space left") as caught:
            kept.save(snapshot(2))
    assert caught.value.hint
    assert kept.newest().manifest == {"i": 1}
    assert not list(folder.glob(".tmp-*"))
    kept.save(snapshot(3))
    assert kept.newest().manifest == {"i": 3}


def test_a_second_owner_is_told_who_the_first_is(folder):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout.readline() == "held\n"
        with pytest.raises(StopError, match=rf"{folder}.*process {first.pid}\b"):
            SnapshotStore(folder).lock()
        first.stdin.close()
        first.wait(30)
    with SnapshotStore(folder).lock(), pytest.raises(StopError, match=str(os.getpid())):
        SnapshotStore(folder).lock()
    SnapshotStore(folder).lock().close()


def test_the_owner_removes_what_a_kill_left_behind(folder):
    SnapshotStore(folder).save(snapshot())
    (folder / ".tmp-00000002.npz").write_bytes(b"half")
    SnapshotStore(folder).lock().close()
    assert not list(folder.glob(".tmp-*"))


def test_a_folder_that_cannot_be_made_is_an_error_of_ours(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StopError, match="state folder"):
        SnapshotStore(tmp_path / "file" / "state").lock()
    assert SnapshotStore(tmp_path / "nowhere").newest() is None
    assert SnapshotStore(tmp_path / "nowhere").names() == ()


@pytest.mark.parametrize("name", ["lock", ".tmp-00000001.npz", ".tmp-00000001.json", ".tmp-CURRENT.json"])
def test_no_link_in_the_folder_is_followed(folder, tmp_path, name):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    folder.mkdir(mode=0o700)
    kept = SnapshotStore(folder)
    if name == "lock":
        (folder / name).symlink_to(victim)
        with pytest.raises(StopError, match="link"):
            kept.lock()
    else:
        with kept.lock():
            (folder / name).symlink_to(victim)
            kept.save(snapshot())
        assert kept.newest().manifest == {"i": 0}
    assert victim.read_text() == "precious"
    assert not any(path.is_symlink() for path in folder.iterdir() if path.name != "lock")


def test_a_folder_that_is_everybodys_on_purpose_is_refused_and_stays_as_it_is(folder):
    """/tmp, or what is mounted like it: it must not be closed to the others."""
    folder.mkdir()
    folder.chmod(0o1777)
    with pytest.raises(StopError, match="everybody") as error:
        SnapshotStore(folder).lock()
    assert "name a folder in it" in error.value.hint
    assert stat.S_IMODE(folder.stat().st_mode) == 0o1777


@pytest.mark.parametrize("mode", [0o777, 0o703])
def test_a_folder_that_everybody_can_write_to_is_closed_to_them(folder, mode, caplog):
    folder.mkdir()
    folder.chmod(mode)
    with SnapshotStore(folder).lock():
        assert stat.S_IMODE(folder.stat().st_mode) == mode & 0o775
    assert "everybody could write" in caplog.text


def test_a_folder_of_roots_that_everybody_can_write_to_is_told_with_a_remedy(folder, caplog, monkeypatch):
    """A volume of Kubernetes (emptyDir) without fsGroup is root's, and the container is another user."""
    folder.mkdir()
    folder.chmod(0o777)

    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "chmod", refuse)
        with SnapshotStore(folder).lock():
            pass
    assert "everybody can write" in caplog.text
    assert "fsGroup" in caplog.text
    with SnapshotStore(folder / "inside").lock():
        assert stat.S_IMODE((folder / "inside").stat().st_mode) == 0o700


def test_a_folder_that_is_a_link_of_ours_is_followed(folder, tmp_path):
    """Mounted volumes often are links."""
    (tmp_path / "volume").mkdir(mode=0o700)
    folder.symlink_to(tmp_path / "volume")
    with SnapshotStore(folder).lock():
        name = SnapshotStore(folder).save(snapshot())
    assert (tmp_path / "volume" / f"{name}.json").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a link away")
def test_a_link_of_another_users_is_refused(folder, tmp_path):
    (tmp_path / "volume").mkdir(mode=0o700)
    folder.symlink_to(tmp_path / "volume")
    os.chown(folder, 12345, 12345, follow_symlinks=False)
    with pytest.raises(StopError, match="another user"):
        SnapshotStore(folder).lock()


def test_what_a_command_reads_or_has_listed_stays(folder):
    now = [1.0e9]
    owner = SnapshotStore(folder, keep=1, now=lambda: now[0])
    with owner.lock():
        first, second = owner.save(snapshot(1)), owner.save(snapshot(2))
        assert owner.names() == (second,)
        with SnapshotStore(folder).reading():
            third = owner.save(snapshot(3))
            assert owner.names() == (second, third)
        now[0] = (folder / "reading").stat().st_mtime + 800
        os.utime(folder / "reading", (now[0], now[0]))
        now[0] += 800
        fourth = owner.save(snapshot(4))
        assert owner.names() == (second, third, fourth)
        assert owner.load(third).manifest == {"i": 3}
        now[0] += 200
        assert first not in owner.names()
        assert owner.names() != (owner.save(snapshot(5)),)
        assert second not in owner.names()


def test_a_listing_every_minute_does_not_fill_the_disk(folder):
    owner = SnapshotStore(folder, keep=1, now=lambda: 4.0e9)
    with owner.lock():
        owner.save(snapshot(1))
        with SnapshotStore(folder).reading():
            pass
        os.utime(folder / "reading", (4.0e9 - 1, 4.0e9 - 1))
        for i in range(120):
            owner.save(snapshot(i))
        assert len(owner.names()) == 101


def test_a_folder_that_no_daemon_has_owned_is_read_without_a_mark(folder):
    folder.mkdir()
    with SnapshotStore(folder).reading():
        pass
    assert not any(folder.iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_another_users_folder_is_refused(folder):
    folder.mkdir()
    os.chown(folder, 12345, 12345)
    with pytest.raises(StopError, match="another user"):
        SnapshotStore(folder).lock()


def test_a_deleted_folder_comes_back_with_its_lock(folder):
    kept = SnapshotStore(folder)
    with kept.lock():
        shutil.rmtree(folder)
        kept.save(snapshot())
        with pytest.raises(StopError, match=f"in use by process {os.getpid()}"):
            SnapshotStore(folder).lock()
    with SnapshotStore(folder).lock():
        pass


def test_a_deleted_folder_that_another_owns_by_now_is_left_to_it(folder):
    kept = SnapshotStore(folder)
    with kept.lock():
        shutil.rmtree(folder)
        with SnapshotStore(folder).lock(), pytest.raises(StopError, match="in use"):
            kept.save(snapshot())
    assert SnapshotStore(folder).newest() is None


def test_the_last_of_every_hour_and_day_are_kept(folder):
    now = [20_000 * 86_400.0 + 1800.0]
    kept, written = SnapshotStore(folder, keep=3, now=lambda: now[0]), {}
    for _ in range(10 * 24 * 4):
        now[0] += 900.0
        name = kept.save(snapshot())
        os.utime(folder / f"{name}.json", (now[0], now[0]))
        written[name] = now[0]
    ages = [now[0] - written[name] for name in kept.names()]
    assert sum(age < 3600 for age in ages) <= 5
    assert 23 <= len({int(written[n] // 3600) for n in kept.names() if now[0] - written[n] < 86_400}) <= 25
    assert {int(written[n] // 86_400) for n in kept.names()} >= {int(now[0] // 86_400) - day for day in range(7)}
    assert max(ages) < 8 * 86_400
    assert len(ages) <= 3 + 25 + 8


def test_a_deleted_folder_that_cannot_be_made_again_is_tried_later(folder):
    kept = SnapshotStore(folder)
    with kept.lock():
        shutil.rmtree(folder)
        folder.write_text("in the way")
        with pytest.raises(RetryableError):
            kept.save(snapshot())
        folder.unlink()
        kept.save(snapshot())
    assert kept.newest() is not None
