"""What we write is its owner's alone, and never goes through a link."""

import os
import stat

import pytest

from streamgmm import private


@pytest.fixture(params=[0o000, 0o022, 0o777], ids="{:o}".format)
def umask(request):
    before = os.umask(request.param)
    yield
    os.umask(before)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def replaced(path):
    with private.replacing(path) as temporary:
        temporary.write_bytes(b"ours")


def appended(path):
    descriptor = private.append(path)
    os.write(descriptor, b"ours")
    os.close(descriptor)


WAYS = [replaced, appended, lambda path: private.write(path, b"ours")]


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize("way", WAYS)
def test_a_new_file_is_its_owners_alone(tmp_path, way):
    way(tmp_path / "out")
    assert mode(tmp_path / "out") == 0o600
    assert (tmp_path / "out").read_bytes() == b"ours"
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("way", [replaced, appended])
def test_a_link_is_refused_and_what_it_points_to_stays(tmp_path, way):
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "out").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="link"):
        way(tmp_path / "out")
    assert (tmp_path / "victim").read_text() == "precious"
    assert names(tmp_path) == ["out", "victim"]


@pytest.mark.parametrize("way", WAYS)
def test_a_link_in_the_place_of_the_temporary_is_not_written_through(tmp_path, way):
    (tmp_path / "victim").write_text("precious")
    (tmp_path / ".tmp-out").symlink_to(tmp_path / "victim")
    way(tmp_path / "out")
    assert (tmp_path / "victim").read_text() == "precious"


@pytest.mark.parametrize("way", [replaced, appended])
def test_a_pipe_is_refused_at_once(tmp_path, way):
    os.mkfifo(tmp_path / "out")
    with pytest.raises(OSError, match="no regular file"):
        way(tmp_path / "out")


def test_a_file_that_is_appended_to_keeps_its_mode(tmp_path):
    (tmp_path / "out").touch()
    (tmp_path / "out").chmod(0o640)
    appended(tmp_path / "out")
    assert mode(tmp_path / "out") == 0o640


def test_a_write_that_fails_leaves_what_was_there(tmp_path):
    (tmp_path / "out").write_text("before")

    def fails(path):
        with private.replacing(path) as temporary:
            temporary.write_text("half")
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        fails(tmp_path / "out")
    assert (tmp_path / "out").read_text() == "before"
    assert names(tmp_path) == ["out"]
