"""The detector over a file: scores in order, and a page on request."""

import numpy as np
import pytest

from streamgmm import cli


@pytest.fixture
def arguments(tables, tmp_path):
    (tmp_path / "config.yaml").write_text("model: {committee: single}\ndetection: {target_rate: 0.01}\n")
    return ["backtest", "-c", str(tmp_path / "config.yaml"), "--input", str(tables / "history.csv"),
            "--output", str(tmp_path / "scores.npz"), "--warm-up", "700"]  # fmt: skip


def test_a_report_changes_no_score(arguments, tmp_path, capsys):
    assert cli.main(arguments) == 0
    plain = dict(np.load(tmp_path / "scores.npz"))
    assert cli.main([*arguments, "--report", str(tmp_path / "report.html")]) == 0
    again = dict(np.load(tmp_path / "scores.npz"))
    for name, column in plain.items():
        np.testing.assert_array_equal(column, again[name])
    assert (plain["status"][:700] == "warming_up").all()
    assert (plain["status"][700:] == "scored").all()
    assert "2000 rows: 1300 scored" in capsys.readouterr().out
    page = (tmp_path / "report.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "history.csv" in page


def test_a_report_that_has_no_folder_is_told_before_the_work(arguments, tmp_path, capsys):
    assert cli.main([*arguments, "--report", str(tmp_path / "none" / "report.html")]) == 1
    assert "there is no folder" in capsys.readouterr().err
    assert not (tmp_path / "scores.npz").exists()
