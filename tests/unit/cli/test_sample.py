import numpy as np
import pytest

from streamgmm import cli
from streamgmm.cli._files import read_table
from streamgmm.offline.model import open_model


@pytest.fixture
def drawn(fitted, tmp_path):
    def run(n, seed=0, ending=".npz"):
        path = tmp_path / f"drawn{n}-{seed}{ending}"
        arguments = ["--model", str(fitted), "-n", str(n), "--seed", str(seed), "--output", str(path)]
        assert cli.main(["sample", *arguments]) == 0
        return read_table(path)

    return run


def test_samples_are_like_the_data(drawn, tables):
    history, table = read_table(tables / "history.csv"), drawn(20000)
    assert table.fields == history.fields
    assert table.X.mean(axis=0) == pytest.approx(history.X.mean(axis=0), rel=0.03)
    correlation = np.corrcoef(history.X.T)
    assert np.corrcoef(table.X.T) == pytest.approx(correlation, abs=0.05)


def test_samples_have_the_model_s_entropy(drawn, fitted):
    """The mean log-density of a model's own samples, drawn and scored twice over, is one number."""
    model = open_model(fitted)
    first, second = (model.detector.log_density(drawn(20000, seed).X).mean() for seed in (1, 2))
    assert first == pytest.approx(second, abs=0.05)


def test_the_seed_decides(drawn):
    assert (drawn(50, 1, ".csv").X == drawn(50, 1).X).all()
    assert (drawn(50, 1).X != drawn(50, 2).X).all()


def test_samples_can_be_scored(fitted, drawn, tmp_path, capsys):
    drawn(200, ending=".jsonl")
    source, target = tmp_path / "drawn200-0.jsonl", tmp_path / "out.npz"
    assert cli.main(["score", "--model", str(fitted), "--input", str(source), "--output", str(target)]) == 0
    assert "200 scored" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [("-n", "0"), ("-n", "5", "--seed", "-1")])
def test_wrong_numbers_are_wrong_usage(fitted, tmp_path, arguments):
    with pytest.raises(SystemExit) as caught:
        cli.main(["sample", "--model", str(fitted), "--output", str(tmp_path / "x.csv"), *arguments])
    assert caught.value.code == 2


def test_marginals_draw_each_column_by_itself(fitted, tables, tmp_path):
    path = tmp_path / "x.npz"
    arguments = ["--member", "marginals", "-n", "20000", "--output", str(path)]
    assert cli.main(["sample", "--model", str(fitted), *arguments]) == 0
    history, X = read_table(tables / "history.csv").X, read_table(path).X
    assert X.mean(axis=0) == pytest.approx(history.mean(axis=0), rel=0.03)
    assert X.std(axis=0) == pytest.approx(history.std(axis=0), rel=0.1)
    assert np.corrcoef(X.T) == pytest.approx(np.eye(3), abs=0.05)


def test_an_unknown_member_is_told(fitted, tmp_path, capsys):
    arguments = ["--member", "quick", "-n", "5", "--output", str(tmp_path / "x.csv")]
    assert cli.main(["sample", "--model", str(fitted), *arguments]) == 1
    assert (
        "there is no member 'quick' in snapshot 00000001 (it has slow, fast, marginals, temporal)"
        in capsys.readouterr().err
    )
