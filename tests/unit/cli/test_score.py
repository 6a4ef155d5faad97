import csv
import json

import numpy as np
import pytest

from streamgmm import StreamDetector, cli
from streamgmm.config import parse
from streamgmm.offline import history
from streamgmm.offline.model import Model, open_model
from streamgmm.snapshots import SnapshotStore

NAMES = ["log_density", "p_value", "score", "is_anomaly", "model_version", "status"]


@pytest.fixture
def scored(tables, fitted, tmp_path):
    def run(ending, *more, rows="today.npz"):
        path = tmp_path / f"scores{ending}"
        arguments = ["--model", str(fitted), "--input", str(tables / rows), "--output", str(path)]
        assert cli.main(["score", *arguments, *more]) == 0
        return path

    return run


def test_scores_are_those_of_the_daemon_at_that_moment(tables, scored, fitted, capsys):
    before = {path: path.read_bytes() for path in fitted.iterdir()}
    with np.load(scored(".npz")) as file:
        ours = {name: file[name] for name in file.files}
    assert list(ours) == NAMES
    detector = StreamDetector.from_config({}, fields=("temperature", "pressure", "flow"), warm_up=2000)
    detector.process(np.loadtxt(tables / "history.csv", delimiter=",", skiprows=1))
    with np.load(tables / "today.npz") as today:
        theirs = detector.process(today["X"][:100])  # the first step: nothing has been learnt of it yet
    for name in NAMES[:3]:  # flags of the daemon follow its level, which moves with every row
        assert ours[name][:100] == pytest.approx(getattr(theirs, name))
    assert ours["is_anomaly"][-1]
    # At the default rate of 0.001 one of 300 ordinary rows may be flagged by chance.
    assert ours["is_anomaly"][:-1].sum() <= 1
    assert ours["p_value"][-1] < 1e-6
    assert ours["p_value"][:-1].min() > 1e-4
    assert set(ours["model_version"]) == {"1.0"}
    assert {path: path.read_bytes() for path in fitted.iterdir()} == before
    out, err = capsys.readouterr()
    assert f"300 rows: 300 scored, {ours['is_anomaly'].sum()} flagged" in out
    assert "provisional: the calibration has 600 scores; a target rate of" in err


def test_every_ending_says_the_same(scored):
    with np.load(scored(".npz")) as arrays:
        expected = arrays["log_density"]
    with scored(".csv").open() as file:
        table = list(csv.DictReader(file))
    assert list(table[0]) == NAMES
    assert [float(row["log_density"]) for row in table] == list(expected)
    lines = [json.loads(line) for line in scored(".jsonl").read_text().splitlines()]
    assert [line["log_density"] for line in lines] == list(expected)
    assert lines[-1]["is_anomaly"] is True


def test_rows_without_any_cell_are_unscored(fitted, tmp_path):
    (tmp_path / "rows.csv").write_text("flow,pressure,temperature\n0.005,100000,20\n0.005,,20\n,,\n")
    arguments = ["--model", str(fitted), "--input", str(tmp_path / "rows.csv")]
    assert cli.main(["score", *arguments, "--output", str(tmp_path / "out.jsonl")]) == 0
    first, second, third = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    for scored in (first, second):
        assert scored["status"] == "scored"
        assert scored["p_value"] > 0.01
    assert (third["status"], third["log_density"], third["is_anomaly"]) == ("missing", None, False)


@pytest.fixture(scope="module")
def holed(tables):
    """Rows of which the middle lacks a cell each, and one is odd in what it has."""
    with np.load(tables / "today.npz") as today:
        X = today["X"].copy()
    X[10:60, 1] = X[60:80, 2] = X[50, 0] = np.nan
    X[30, 2] = 1.0
    return X


def test_rows_with_missing_cells_score_as_with_the_daemon(tables, fitted, holed):
    ours = open_model(fitted).score(holed, 0.001)
    detector = StreamDetector.from_config({}, fields=("temperature", "pressure", "flow"), warm_up=2000)
    detector.process(np.loadtxt(tables / "history.csv", delimiter=",", skiprows=1))
    theirs = detector.process(holed[:100])
    assert ours.log_density[:100] == pytest.approx(theirs.log_density)
    assert ours.p_value[:100] == pytest.approx(theirs.p_value)
    assert ours.is_anomaly[30]
    assert ours.p_value[30] < 1e-6
    assert (np.delete(ours.p_value[:80], 30) > 1e-4).all()


def test_threads_change_nothing(fitted, holed):
    model, rows = open_model(fitted), np.tile(holed, (60, 1))
    one, three = (model.score(rows, 0.001, n_threads=n) for n in (1, 3))
    for name in NAMES[:4]:
        np.testing.assert_array_equal(getattr(one, name), getattr(three, name))


def test_the_target_rate_is_that_of_the_config(scored, tmp_path, capsys):
    (tmp_path / "config.yaml").write_text("detection: {target_rate: 0.2}")
    with np.load(scored(".npz", "-c", str(tmp_path / "config.yaml"))) as arrays:
        assert 0.1 < arrays["is_anomaly"].mean() < 0.3
        assert (arrays["is_anomaly"] == (arrays["p_value"] <= 0.2)).all()
    assert "provisional" not in capsys.readouterr().err


def test_derived_columns_start_afresh(tables, tmp_path):
    (tmp_path / "config.yaml").write_text("features: [{type: difference, fields: [flow]}]")
    arguments = ["--input", str(tables / "history.csv"), "-c", str(tmp_path / "config.yaml")]
    assert cli.main(["fit", *arguments, "--output", str(tmp_path / "state")]) == 0
    model = open_model(tmp_path / "state")
    for _ in range(2):
        columns = model.derive([[20.0, 1e5, 5e-3], [20.0, 1e5, 6e-3]])
        assert columns[:, 3] == pytest.approx([0.0, 1e-3])


def test_a_history_that_was_fitted_is_not_flagged_at_its_beginning():
    rng = np.random.default_rng(3)
    X = 3.0 * np.sin(np.arange(2000)[:, None] / 50 + np.arange(3)) + 0.2 * rng.normal(size=(2000, 3))
    config = parse({"detection": {"target_rate": 0.01}}, require=())
    model = Model.from_snapshot(history.fit(config, ("a", "b", "c"), X).snapshot("now"))
    assert "temporal" in [member.name for member in model.detector.voters]
    assert model.score(X, 0.01).is_anomaly[:100].sum() <= 10  # 70 and more where the past starts from nothing
    X[2, 1] += 30.0
    assert model.score(X, 0.01).is_anomaly[2]
    assert not np.isnan(model.score(X[:1], 0.01).p_value).any()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"--model": "nowhere"}, "there is no snapshot in nowhere"),
        ({"--snapshot": "00000009"}, "cannot be read"),
        ({"--snapshot": "../x"}, "is not the name of a snapshot"),
        ({"--output": "scores.txt"}, "cannot write files ending in '.txt'"),
        ({"--output": "no/scores.csv"}, "there is no folder no"),
        ({"--input": "none.csv"}, "No such file"),
    ],
)
def test_what_cannot_be_scored_is_told(tables, fitted, tmp_path, monkeypatch, capsys, change, said):
    monkeypatch.chdir(tmp_path)
    arguments = {"--model": str(fitted), "--input": str(tables / "today.npz"), "--output": "scores.csv", **change}
    assert cli.main(["score", *(word for pair in arguments.items() for word in pair)]) == 1
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_field_that_the_file_lacks_is_told(fitted, tmp_path, capsys):
    (tmp_path / "rows.csv").write_text("flow,pressure\n1,2\n")
    arguments = ["--model", str(fitted), "--input", str(tmp_path / "rows.csv")]
    assert cli.main(["score", *arguments, "--output", str(tmp_path / "out.csv")]) == 1
    assert "the file has no field 'temperature' (it has flow, pressure)" in capsys.readouterr().err


def test_damaged_snapshots_are_told(fitted, tables, tmp_path, capsys):
    store = SnapshotStore(tmp_path / "state")
    store.save(SnapshotStore(fitted).newest())
    (tmp_path / "state" / "00000001.npz").write_bytes(b"")
    arguments = ["--model", str(tmp_path / "state"), "--input", str(tables / "today.npz")]
    assert cli.main(["score", *arguments, "--output", str(tmp_path / "out.csv")]) == 1
    assert "every snapshot" in capsys.readouterr().err
