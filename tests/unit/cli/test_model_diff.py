"""`model diff`: components are matched, and told in the units of the columns."""

import numpy as np
import pytest

from streamgmm import cli
from streamgmm.offline.compare import compare
from streamgmm.snapshots import SnapshotStore

FIELDS = np.array(["a", "b"])
MEANS = np.array([[0.0, 1000.0], [10.0, 2000.0], [20.0, 3000.0]])
VARIANCES = np.tile([1.0, 100.0], (3, 1))


@pytest.fixture
def stores(tmp_path):
    """Make a folder with a snapshot of each of two mixtures."""

    def make(*mixtures):
        config = tmp_path / "config.yaml"
        config.write_text("model: {committee: single}")
        both = SnapshotStore(tmp_path / "both")
        for number, (weights, means, variances) in enumerate(mixtures):
            arrays, folder = tmp_path / f"{number}.npz", tmp_path / f"{number}"
            np.savez(
                arrays, weights_=weights, means_=means, covariances_=variances, covariance_type="diag", fields=FIELDS
            )
            assert cli.main(["model", "import", str(folder), "--arrays", str(arrays), "-c", str(config)]) == 0
            both.save(SnapshotStore(folder).newest())
        return str(both.directory), *both.names()

    return make


def test_components_are_matched_however_they_are_numbered(stores, capsys):
    moved = MEANS + np.array([0.0, 5.0])
    weights = np.array([0.2, 0.3, 0.5])
    folder, one, other = stores((weights, MEANS, VARIANCES), (weights[::-1], moved[::-1], 4.0 * VARIANCES))
    capsys.readouterr()
    assert cli.main(["model", "diff", folder, one, other]) == 0
    out = capsys.readouterr().out
    assert "#0 -> #2: weight 0.2000 -> 0.2000" in out
    assert "#2 -> #0: weight 0.5000 -> 0.5000" in out
    (b, *_) = [line for line in out.splitlines() if line.strip().startswith("b ")]
    assert b.split() == [
        "b",
        "1000",
        "->",
        "1005",
        "+0.50",
        "standard",
        "deviations,",
        "spread",
        "×",
        "2.00",
    ]
    assert "gone" not in out


def test_what_came_and_what_went_is_named(stores, capsys):
    two = (np.array([0.4, 0.6]), MEANS[:2], VARIANCES[:2])
    three = (np.array([0.2, 0.3, 0.5]), MEANS, VARIANCES)
    folder, one, other = stores(three, two)
    capsys.readouterr()
    assert cli.main(["model", "diff", folder, one, other]) == 0
    assert "gone: #2, weight 0.5000" in capsys.readouterr().out
    assert cli.main(["model", "diff", folder, other, one]) == 0
    assert "new: #2, weight 0.5000" in capsys.readouterr().out


def test_a_product_of_marginals_has_no_components_to_match(fitted, capsys):
    (name,) = SnapshotStore(fitted).names()
    assert cli.main(["model", "diff", str(fitted), name, name, "--member", "marginals"]) == 1
    assert "not a mixture of all columns" in capsys.readouterr().err


def test_nothing_changed(fitted, capsys):
    from streamgmm.offline.model import open_model

    member = open_model(fitted).member()
    change = compare(member, member)
    assert change.pairs == tuple((k, k) for k in range(5))
    assert not change.shift.any()
    np.testing.assert_allclose(change.spread, 1.0)
    capsys.readouterr()
