import sys

import numpy as np
import pytest

from streamgmm import cli
from streamgmm.mixture.parameters import MixtureParameters
from streamgmm.plots.pairs import Layer, ellipse, pair_plot
from streamgmm.snapshots import SnapshotStore


@pytest.fixture
def drawn(fitted, tmp_path, capsys):
    def run(*arguments, name="pairs.svg", code=0):
        path = tmp_path / name
        assert cli.main(["plot", "--model", str(fitted), "--output", str(path), *map(str, arguments)]) == code
        out, err = capsys.readouterr()
        return (path.read_bytes() if code == 0 else b"", out + err)

    return run


def test_pairs_are_drawn_with_and_without_rows(drawn, tables):
    bare, out = drawn(name="pairs.png")
    assert bare.startswith(b"\x89PNG")
    assert out.endswith("pairs.png: temperature, pressure, flow\n")
    rows, _ = drawn("--input", tables / "today.npz", name="pairs.png")
    assert rows != bare


def test_columns_are_chosen(drawn):
    _, out = drawn("--features", "flow,temperature")
    assert out.endswith("flow, temperature (1 more; choose with --features)\n")


def test_before_and_after_are_told_apart(drawn, fitted, tmp_path):
    alone, _ = drawn()
    both, _ = drawn("--before", fitted)
    assert both.count(b"stroke-dasharray") > alone.count(b"stroke-dasharray") + 20
    other = SnapshotStore(tmp_path / "other")
    other.save(SnapshotStore(fitted).newest())
    assert drawn("--before", other.directory, "--before-snapshot", "00000001")[0].count(b"stroke-dasharray")
    assert drawn("--before-snapshot", "00000001")[0].count(b"stroke-dasharray") == both.count(b"stroke-dasharray")


@pytest.mark.parametrize(
    ("arguments", "name", "said"),
    [
        (("--features", "flow,humidity"), "a.png", "the model has no column 'humidity' (it has temperature"),
        ((), "a.xyz", "use .png, .svg or .pdf"),
        ((), "no/a.png", "No such file"),
    ],
)
def test_what_cannot_be_drawn_is_told(drawn, arguments, name, said):
    assert said in drawn(*arguments, name=name, code=1)[1]


def test_without_matplotlib_the_remedy_is_told(drawn, tables, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert "pip install 'streamgmm[plot]'" in drawn(code=1)[1]
    arguments = ["--input", str(tables / "history.csv"), "--components", "1", "--plot", "curve.png"]
    assert cli.main(["select", *arguments]) == 1
    assert "pip install 'streamgmm[plot]'" in capsys.readouterr().err


def test_ellipses_are_where_the_components_are():
    covariances = np.array([[[4.0, 0.0], [0.0, 1.0]], [[2.0, 1.0], [1.0, 2.0]]])
    params = MixtureParameters.from_covariances([0.25, 0.75], [[0.0, 0.0], [5.0, 7.0]], covariances, "full")
    figure = pair_plot([Layer("now", params)], ("a", "b"), np.full((3, 2), np.nan))
    patches = figure.axes[2].patches
    assert [tuple(p.center) for p in patches] == [(0.0, 0.0), (0.0, 0.0), (5.0, 7.0), (5.0, 7.0)]
    assert [(p.width, p.height) for p in patches[:2]] == [(4.0, 2.0), (8.0, 4.0)]
    assert patches[2].angle % 180.0 == pytest.approx(45.0)
    assert patches[0].get_alpha() < patches[2].get_alpha()


@pytest.mark.parametrize("angle", [0.0, 30.0, 80.0, 150.0])
def test_an_ellipse_by_its_axes(angle):
    a = np.radians(angle)
    turn = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    width, height, found = ellipse(turn @ np.diag([9.0, 1.0]) @ turn.T)
    assert (width, height) == (pytest.approx(3.0), pytest.approx(1.0))
    assert np.cos(np.radians(2.0 * (found - angle))) == pytest.approx(1.0)
