import warnings

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.mixture import GaussianMixture as Theirs

from streamgmm import cli
from streamgmm.cli._files import read_table
from streamgmm.offline.model import open_model
from streamgmm.snapshots import Snapshot, SnapshotStore

TYPES = ("full", "tied", "diag", "spherical")


def model(*arguments):
    return cli.main(["model", *map(str, arguments)])


@pytest.fixture
def copied(fitted, tmp_path):
    """A store with two snapshots of its own to be damaged."""
    store = SnapshotStore(tmp_path / "copied")
    for _ in range(2):
        store.save(SnapshotStore(fitted).newest())
    return store


@pytest.fixture(scope="module", params=TYPES)
def theirs(request, tables):
    """A mixture that scikit-learn fitted, in the units of the data."""
    X = read_table(tables / "history.csv").X
    scale = 1.0 if request.param != "spherical" else [1.0, 1e-4, 1e3]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # whether it converged does not matter here
        found = Theirs(3, covariance_type=request.param, reg_covar=1e-12, max_iter=20, random_state=0).fit(X * scale)
    return found, X * scale


# --- looking


def test_snapshots_are_listed(copied, capsys):
    assert model("list", copied.directory) == 0
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == ["snapshot", "model", "rows", "seen", "written"]
    assert first.split()[:3] == ["00000001", "1.0", "2000"]
    assert second.split()[:4] == ["*", "00000002", "1.0", "2000"]


def test_a_snapshot_is_shown_in_the_units_of_the_data(fitted, capsys):
    assert model("show", fitted) == 0
    out = capsys.readouterr().out
    assert "window 2000 rows, calibration 600 scores" in out
    assert "members: slow, fast, marginals" in out
    assert "member slow: 5 components, full" in out
    pressure = next(line for line in out.splitlines() if line.strip().startswith("pressure"))
    means = [float(word) for word in pressure.replace("±", " ").split()[1::2]]
    assert all(8e4 < mean < 1.3e5 for mean in means)


def test_marginals_are_shown_column_by_column(fitted, capsys):
    assert model("show", fitted, "--member", "marginals") == 0
    out = capsys.readouterr().out
    assert "member marginals: 3 components, each column separately" in out
    pressure = next(line for line in out.splitlines() if line.strip().startswith("pressure"))
    cells = np.array([float(word) for word in pressure.replace("±", " ").replace("×", " ").split()[1:]]).reshape(3, 3)
    assert cells[:, 0].sum() == pytest.approx(1.0, abs=0.02)
    assert ((cells[:, 1] > 8e4) & (cells[:, 1] < 1.3e5)).all()


def test_marginals_are_exported_as_they_are(fitted, tables, tmp_path):
    assert model("export", fitted, "--member", "marginals", "--output", tmp_path / "mixture.npz") == 0
    with np.load(tmp_path / "mixture.npz", allow_pickle=False) as file:
        arrays = {name.removeprefix("marginal_"): file[name] for name in file.files}
    X = read_table(tables / "today.npz").X[:-1]
    each = norm.pdf(X[:, :, None], arrays["means"], np.sqrt(arrays["variances"]))
    expected = np.log((arrays["weights"] * each).sum(axis=2)).sum(axis=1)
    assert open_model(fitted).member("marginals").log_density(X) == pytest.approx(expected, rel=1e-9)


def test_damage_is_found(copied, capsys):
    assert model("verify", copied.directory) == 0
    assert capsys.readouterr().out == "00000001  intact\n00000002  intact\n"
    path = copied.directory / "00000002.npz"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert model("verify", copied.directory) == 1
    assert "00000002  the arrays of snapshot 00000002 are damaged" in capsys.readouterr().out
    assert open_model(copied.directory).name == "00000001"
    (copied.directory / "00000001.json").write_text("{}")
    assert model("list", copied.directory) == 0
    assert "the manifest of snapshot 00000001" in capsys.readouterr().out


@pytest.mark.parametrize("action", ["list", "show", "verify"])
def test_a_folder_without_snapshots_is_told(action, tmp_path, capsys):
    assert model(action, tmp_path) == 1
    assert f"there is no snapshot in {tmp_path} (give a daemon's state.dir" in capsys.readouterr().err


def test_a_snapshot_from_before_the_first_fit_is_told(fitted, tmp_path, capsys):
    whole = SnapshotStore(fitted).newest()
    arrays = {name: a for name, a in whole.arrays.items() if "detector." not in name}
    store = SnapshotStore(tmp_path / "early")
    store.save(Snapshot(arrays, {**whole.manifest, "model_version": None}))
    assert model("show", store.directory) == 1
    assert "it was written before the first fit" in capsys.readouterr().err
    assert model("list", store.directory) == 0
    assert "none yet" in capsys.readouterr().out


# --- exchanging


def test_an_export_scores_the_same_in_scikit_learn(single, tables, tmp_path, capsys):
    assert model("export", single, "--output", tmp_path / "mixture.npz") == 0
    assert "4 components of 3 columns, full, from snapshot 00000001" in capsys.readouterr().out
    with np.load(tmp_path / "mixture.npz", allow_pickle=False) as arrays:
        mixture = Theirs(len(arrays["weights_"]), covariance_type=str(arrays["covariance_type"]))
        for name in ("weights_", "means_", "covariances_", "precisions_cholesky_"):
            setattr(mixture, name, arrays[name])
        assert list(arrays["fields"]) == ["temperature", "pressure", "flow"]
    X = read_table(tables / "today.npz").X
    assert open_model(single).detector.log_density(X) == pytest.approx(mixture.score_samples(X), rel=1e-9, abs=1e-9)


def test_an_import_scores_the_same_as_in_scikit_learn(theirs, tmp_path):
    mixture, X = theirs
    names = ("weights_", "means_", "covariances_")
    kind = np.array(mixture.covariance_type)
    np.savez(tmp_path / "mixture.npz", covariance_type=kind, **{n: getattr(mixture, n) for n in names})
    assert model("import", tmp_path / "state", "--arrays", tmp_path / "mixture.npz") == 0
    ours = open_model(tmp_path / "state")
    far = np.vstack([X, X[:5] + 1e3 * X.std(axis=0)])  # nothing is clipped
    assert ours.member().mixture.covariance_type == mixture.covariance_type
    assert ours.detector.log_density(far) == pytest.approx(mixture.score_samples(far), rel=1e-9, abs=1e-9)
    assert ours.fields == ("x0", "x1", "x2")
    assert model("export", tmp_path / "state", "--output", tmp_path / "again.npz") == 0
    with np.load(tmp_path / "again.npz") as arrays:
        for name in (*names, "precisions_cholesky_"):
            assert arrays[name] == pytest.approx(getattr(mixture, name), rel=1e-8)


def test_a_spherical_model_of_scaled_columns_is_exported_as_diag(tables, tmp_path):
    (tmp_path / "config.yaml").write_text("model: {committee: single, covariance_type: spherical}")
    arguments = ["--input", str(tables / "history.csv"), "-c", str(tmp_path / "config.yaml")]
    assert cli.main(["fit", *arguments, "--output", str(tmp_path / "state")]) == 0
    assert model("export", tmp_path / "state", "--output", tmp_path / "mixture.npz") == 0
    with np.load(tmp_path / "mixture.npz") as arrays:
        assert str(arrays["covariance_type"]) == "diag"
    assert model("import", tmp_path / "again", "--arrays", tmp_path / "mixture.npz") == 0
    X = read_table(tables / "today.npz").X
    first, second = (open_model(tmp_path / name).detector.log_density(X) for name in ("state", "again"))
    assert first == pytest.approx(second, rel=1e-9)


def test_rows_calibrate_an_import(fitted, tables, tmp_path, capsys):
    model("export", fitted, "--output", tmp_path / "mixture.npz")
    capsys.readouterr()
    arguments = ["--arrays", tmp_path / "mixture.npz", "--input", tables / "history.csv"]
    assert model("import", tmp_path / "state", *arguments) == 0
    assert "not calibrated" not in capsys.readouterr().err
    found = open_model(tmp_path / "state")
    assert (len(found.calibration.recent), len(found.window)) == (2000, 1000)
    scored = found.score(read_table(tables / "today.npz").X, 0.001)
    assert scored.is_anomaly[-1]
    assert model("import", tmp_path / "bare", "--arrays", tmp_path / "mixture.npz") == 0
    assert "not calibrated" in capsys.readouterr().err


def test_rows_with_missing_cells_calibrate_an_import(single, tables, tmp_path):
    model("export", single, "--output", tmp_path / "mixture.npz")
    X = read_table(tables / "history.csv").X
    X[::2, 1] = np.nan
    X[:7] = np.nan
    np.savez(tmp_path / "rows.npz", X=X, fields=np.array(["temperature", "pressure", "flow"]))
    arguments = ["--arrays", tmp_path / "mixture.npz", "--input", tmp_path / "rows.npz"]
    assert model("import", tmp_path / "state", *arguments) == 0
    found = open_model(tmp_path / "state")
    assert (len(found.calibration.recent), len(found.window)) == (1993, 1000)
    whole, holed = found.calibration.recent[::2], found.calibration.recent[1::2]
    assert np.median(whole) == pytest.approx(np.median(holed), abs=0.3)  # one scale
    assert found.comparable is not None


MIXTURE = {"weights_": np.array([0.5, 0.5]), "means_": np.zeros((2, 2)), "covariances_": np.tile(np.eye(2), (2, 1, 1))}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"weights_": np.array([0.5, 0.6])}, "sum to one"),
        ({"covariances_": np.ones((2, 2))}, "could be tied or diag (add an array covariance_type"),
        ({"covariances_": np.ones((3, 3))}, "could be of no type"),
        ({"covariances_": -MIXTURE["covariances_"]}, "not positive definite"),
        ({"means_": np.full((2, 2), np.nan)}, "means are not finite"),
        ({"means_": np.array([[1e308] * 2, [-1e308] * 2])}, "too far apart"),
        ({"means_": np.array([[1e200] * 2, [0.0] * 2])}, "too far apart"),
        ({"fields": np.array("ab")}, "names 1 fields for 2 features"),
        ({"fields": np.array(["a", "a"])}, "names the field 'a' twice"),
        ({"covariance_type": np.array("round")}, "not one of full"),
        ({"fields": np.array(["a"])}, "names 1 fields for 2 features"),
        ({"weights_": np.array([object()])}, "give an .npz of plain arrays"),
        ({"means_": None}, "holds no means_"),
        ({"means_": np.zeros(2)}, "means_"),
        ({"weights_": np.array(["a", "b"])}, "weights_"),
    ],
)
def test_what_cannot_be_imported_is_told(tmp_path, capsys, change, said):
    arrays = {name: a for name, a in {**MIXTURE, **change}.items() if a is not None}
    np.savez(tmp_path / "mixture.npz", **arrays)
    assert model("import", tmp_path / "state", "--arrays", tmp_path / "mixture.npz") == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / "state").exists()


def test_files_that_are_none_are_told(tmp_path, capsys):
    (tmp_path / "text.npz").write_text("no zip")
    for name in ("none.npz", "text.npz"):
        assert model("import", tmp_path / "state", "--arrays", tmp_path / name) == 1
        assert name in capsys.readouterr().err


def test_columns_must_be_as_many_as_features(tmp_path, capsys):
    np.savez(tmp_path / "mixture.npz", **MIXTURE)
    (tmp_path / "config.yaml").write_text("features: [{type: lag, fields: [x0]}]")
    arguments = ["--arrays", tmp_path / "mixture.npz", "-c", tmp_path / "config.yaml"]
    assert model("import", tmp_path / "state", *arguments) == 1
    assert "2 features, the configuration 3 columns (the columns are x0, x1, x0.lag)" in capsys.readouterr().err


def test_neither_import_nor_export_goes_anywhere(fitted, tmp_path, capsys):
    np.savez(tmp_path / "mixture.npz", **MIXTURE)
    assert model("import", fitted, "--arrays", tmp_path / "mixture.npz") == 1
    assert "there are snapshots in" in capsys.readouterr().err
    assert model("export", fitted, "--output", tmp_path / "mixture.csv") == 1
    assert "a model is exported as .npz" in capsys.readouterr().err
    assert not (tmp_path / "mixture.csv").exists()
