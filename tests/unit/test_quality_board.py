"""The board of `make quality`: what it calls, where it writes, and what it says where there is nothing to run."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "bench" / "quality" / "board.py"
HARNESS = """
import pathlib, sys
args = dict(zip(sys.argv[2::2], sys.argv[3::2]))
if sys.argv[1] == "run":
    out = pathlib.Path(args["--out"])
    out.mkdir()
    (out / "called").write_text(args["--seed"] + pathlib.Path(args["--config"]).read_text())
else:
    outs = [pathlib.Path(a) for a in sys.argv[sys.argv.index("--out") + 1 :]]
    print("seeds", *((out / "called").read_text()[0] for out in outs))
"""


@pytest.fixture
def board():
    spec = importlib.util.spec_from_file_location("board", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def call(*arguments):
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=False)


def test_without_a_harness_it_says_what_is_missing(tmp_path):
    done = call("--harness", str(tmp_path / "none.py"))
    assert done.returncode == 1
    assert "there is no harness" in done.stderr


def test_it_runs_every_seed_of_the_chosen_streams(tmp_path):
    for name in ("data/a", "quality/drift/b", "quality/drift/c"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{name}.npz").touch()
    harness = tmp_path / "quality" / "harness.py"
    harness.write_text(HARNESS)
    done = call("--harness", str(harness), "--sets", "b", "--seeds", "2")
    assert done.returncode == 0, done.stderr
    assert "### Drift\n\n```\nseeds 0 1\n```" in done.stdout
    assert "Labelled" not in done.stdout
    assert "the page stays as it is" in done.stdout


def test_the_board_stands_between_its_marks(board):
    page = board.spliced("# Benchmarks\n\n<!-- mixture: begin -->x<!-- mixture: end -->\n", "first\\1")
    assert page.count(board.HEADING) == 1
    assert "first\\1" in page
    again = board.spliced(page + "\n## More\n", "second")
    assert "first" not in again
    assert again.count(board.BEGIN) == again.count(board.END) == 1
    assert "mixture: begin -->x<" in again
    assert again.endswith("## More\n")
