import argparse
import io

import numpy as np
import pytest

from streamgmm import cli
from streamgmm.cli import select
from streamgmm.cli._progress import Progress
from streamgmm.mixture.parameters import count_parameters


def chosen(text):
    return [line.split()[1:3] for line in text.splitlines() if line.startswith("*")]


@pytest.mark.parametrize("criterion", select.CRITERIA)
def test_the_table_marks_the_choice(tables, capsys, criterion):
    arguments = ["--components", "1..5", "--types", "full,diag", "--criterion", criterion]
    assert cli.main(["select", "--input", str(tables / "history.csv"), *arguments]) == 0
    out, err = capsys.readouterr()
    assert err == f"{tables / 'history.csv'}: columns taken: temperature, pressure, flow; event time: none\n"
    assert len(out.splitlines()) == 12
    ((kind, size),) = chosen(out)
    assert kind == "full"
    assert criterion != "bic" or size == "3"
    assert f"{criterion} chooses {size} components, full (1600 rows fitted, 400 held out" in out


@pytest.mark.parametrize(
    ("sizes", "said"), [("1,2", "the largest number that was tried"), ("3,4,5", "the smallest number"), ("1..4", None)]
)
def test_a_choice_at_the_edge_is_told(tables, capsys, sizes, said):
    assert cli.main(["select", "--input", str(tables / "history.csv"), "--components", sizes]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert said in last if said else "number that was tried" not in last


def test_the_curves_are_drawn(tables, tmp_path):
    path = tmp_path / "curve.png"
    arguments = ["--components", "1,2,4", "--criterion", "held_out", "--plot", str(path), "--max-rows", "500"]
    assert cli.main(["select", "--input", str(tables / "history.csv"), *arguments]) == 0
    assert path.read_bytes().startswith(b"\x89PNG")


def test_the_rows_are_those_that_the_detector_would_fit(tables, tmp_path, capsys):
    config = tmp_path / "config.yaml"
    config.write_text("codec: {fields: [temperature, flow]}\nfeatures: [{type: difference, fields: [flow]}]\n")
    arguments = ["--components", "2", "-c", str(config)]
    assert cli.main(["select", "--input", str(tables / "history.csv"), *arguments]) == 0
    marked = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("*"))
    assert marked.split()[3] == str(count_parameters(2, 3, "full"))
    config.write_text("codec: {fields: [{name: temperature, path: temperature, type: category}]}\n")
    assert cli.main(["select", "--input", str(tables / "history.csv"), *arguments]) == 1
    assert "'temperature' is a category" in capsys.readouterr().err


def test_the_same_seed_gives_the_same_table(tables, capsys):
    tables_seen = set()
    for seed in ("3", "3", "4"):
        arguments = ["--components", "2,3", "--seed", seed, "--max-rows", "400"]
        cli.main(["select", "--input", str(tables / "history.csv"), *arguments])
        tables_seen.add(capsys.readouterr().out)
    assert len(tables_seen) == 2


@pytest.mark.parametrize(
    ("text", "sizes"), [("4", [4]), ("2,4,8", [2, 4, 8]), ("1..3", [1, 2, 3]), ("1..2,9", [1, 2, 9])]
)
def test_sizes(text, sizes):
    assert select._sizes(text) == sizes


@pytest.mark.parametrize("text", ["", "a", "0..3", "3..1", "1..b", "-2"])
def test_sizes_that_are_none(text):
    with pytest.raises(argparse.ArgumentTypeError):
        select._sizes(text)


def test_an_unknown_type_is_wrong_usage(tables, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["select", "--input", str(tables / "history.csv"), "--types", "full,round"])
    assert caught.value.code == 2
    assert "'round' is not one of full, tied" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("few.csv", "a,b\n1,2\n3,4\n", "2 rows with values are too few"),
        ("none.csv", "", "there is no header"),
        ("ragged.csv", "a,b\n1\n", "one cell per column name"),
        ("text.jsonl", "[1, 2]\n", "one object per line"),
        ("rows.xml", "", "cannot read files ending in '.xml'"),
        ("broken.npz", "PK", "broken.npz"),
    ],
)
def test_a_table_that_cannot_be_read_is_told(tmp_path, capsys, name, content, said):
    (tmp_path / name).write_text(content)
    assert cli.main(["select", "--input", str(tmp_path / name)]) == 1
    assert said in capsys.readouterr().err


def test_too_few_rows_for_the_components(tmp_path, capsys):
    np.savez(tmp_path / "rows.npz", X=np.random.default_rng(0).normal(size=(20, 2)))
    assert cli.main(["select", "--input", str(tmp_path / "rows.npz"), "--components", "1..12"]) == 1
    assert "20 rows are too few for 12 components (give at least 26 rows" in capsys.readouterr().err


# --- the bar


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_sees_a_bar_that_goes_away():
    stream = Terminal()
    with Progress(stream) as progress:
        progress.show(0.5, "pass 7, log-likelihood −3.2")
        progress.show(2.0, "x")
    first, second, blank, end = stream.getvalue().split("\r")[1:]
    assert first == "[############............] pass 7, log-likelihood −3.2"
    assert second == f"[{'#' * 24}] x".ljust(len(first))
    assert (blank.strip(), end) == ("", "")


def test_a_file_sees_none():
    stream = io.StringIO()
    with Progress(stream) as progress:
        progress.show(0.5, "x")
    assert stream.getvalue() == ""


def test_the_bar_shows_the_log_likelihood(tables, monkeypatch, capsys):
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    cli.main(["select", "--input", str(tables / "history.csv"), "--components", "1,2"])
    assert "full, 2 components, pass 1, log-likelihood " in stream.getvalue()
    assert capsys.readouterr().out


def test_rows_with_missing_cells_count(tmp_path, capsys):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 3)) + 20.0 * rng.integers(2, size=(400, 1))
    X[np.arange(400), np.arange(400) % 3] = np.nan
    X[:10] = np.nan
    np.savez(tmp_path / "rows.npz", X=X)
    assert cli.main(["select", "--input", str(tmp_path / "rows.npz"), "--components", "1..3"]) == 0
    assert "bic chooses 2 components, full (312 rows fitted, 78 held out" in capsys.readouterr().out
