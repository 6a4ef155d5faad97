import warnings

with warnings.catch_warnings():
    # kafka-python reads its schemas through a deprecated door of importlib, once, at import.
    warnings.simplefilter("ignore", DeprecationWarning)
    import kafka  # noqa: F401 - imported for its warning

import numpy as np
import pytest

from streamgmm import cli

FIELDS = ("temperature", "pressure", "flow")


def clusters(n, seed):
    """Rows around three centres, in very different units."""
    rng = np.random.default_rng(seed)
    means = np.array([[20.0, 1e5, 5e-3], [30.0, 9e4, 2e-3], [25.0, 1.2e5, 8e-3]])
    mixing = np.array([[1.0, 500.0, 0.0], [0.0, 2000.0, 3e-4], [0.0, 0.0, 4e-4]])
    return means[rng.integers(3, size=n)] + rng.normal(size=(n, 3)) @ mixing


@pytest.fixture(scope="session")
def tables(tmp_path_factory):
    """A folder with history.csv (2000 rows) and today.npz (300 rows, the last one far off)."""
    folder = tmp_path_factory.mktemp("tables")
    np.savetxt(folder / "history.csv", clusters(2000, 1), delimiter=",", header=",".join(FIELDS), comments="")
    today = clusters(300, 2)
    today[-1] = [20.0, 1.2e5, 2e-3]
    np.savez(folder / "today.npz", X=today, fields=np.array(FIELDS))
    return folder


@pytest.fixture(scope="session")
def single(tables, tmp_path_factory):
    """A folder with a snapshot of one mixture, fitted to history.csv."""
    folder = tmp_path_factory.mktemp("single")
    (folder / "config.yaml").write_text("model: {committee: single}")
    arguments = ["--input", str(tables / "history.csv"), "-c", str(folder / "config.yaml")]
    assert cli.main(["fit", *arguments, "--output", str(folder / "state")]) == 0
    return folder / "state"


@pytest.fixture(scope="session")
def fitted(tables, tmp_path_factory):
    """A folder with the snapshot that `fit` made of history.csv."""
    folder = tmp_path_factory.mktemp("fitted") / "state"
    assert cli.main(["fit", "--input", str(tables / "history.csv"), "--output", str(folder)]) == 0
    return folder
