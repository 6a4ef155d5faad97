"""How well it detects: `streamgmm backtest` on labelled streams, ranked among peers by a harness that is not ours.

The streams are not ours to ship. Where the harness is, `--harness` or the variable QUALITY says; beside the repository
unless given. It must know two actions: `run` writes scores, `report` prints the board.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "tests"))

import pages  # noqa: E402  # found through the path above

BESIDE = ROOT.parent / "shared" / "quality" / "rank.py"
PAGE = pages.BENCHMARKS
BEGIN, END = pages.marks("quality")
HEADING = "## Detection quality"
# The board counts flags at this rate.
CONFIG = "detection: {target_rate: 0.01}\n"


def main() -> None:
    """Run what was asked for, print the board, and write it into the page when it is of all streams."""
    args = arguments()
    if not args.harness.is_file():
        sys.exit(f"there is no harness at {args.harness}: say where it is with QUALITY=… or --harness")
    folders = {name: folder for name, folder in suites(args.harness).items() if folder.is_dir()}
    if not folders:
        sys.exit(f"there are no streams beside {args.harness}: {', '.join(map(str, suites(args.harness).values()))}")
    with tempfile.TemporaryDirectory() as scratch:
        try:
            board = "\n".join(section(name, folder, Path(scratch), args) for name, folder in folders.items())
        except subprocess.CalledProcessError as error:
            sys.exit(f"the harness failed ({error.returncode}): {' '.join(error.cmd)}")
    say(board)
    if args.sets:
        say("only some of the streams: the page stays as it is")
    else:
        PAGE.write_text(spliced(PAGE.read_text(encoding="utf-8"), f"{described(args)}\n\n{board}"), encoding="utf-8")
        say(f"written to {PAGE}")


def say(text: str) -> None:
    """Print a line."""
    sys.stdout.write(text + "\n")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--harness", type=Path, default=Path(os.environ.get("QUALITY") or BESIDE))
    parser.add_argument("--config", type=Path, help=f"of the detector; unless given, {CONFIG.strip()}")
    parser.add_argument("--seeds", type=int, default=3, help="runs, whose figures are averaged")
    parser.add_argument("--sets", help="names of streams, with commas; the page is then not written")
    return parser.parse_args()


def suites(harness: Path) -> dict[str, Path]:
    """Return where each suite's streams are: the harness's own folder of drift, and the data beside that."""
    return {"Labelled streams": harness.parent.parent / "data", "Drift": harness.parent / "drift"}


def section(name: str, folder: Path, scratch: Path, args: argparse.Namespace) -> str:
    """Run one suite with every seed, and return its board; empty where none of the chosen streams is in it."""
    wanted = set(args.sets.split(",")) if args.sets else None
    if not any(wanted is None or path.stem in wanted for path in folder.glob("*.npz")):
        return ""
    config = args.config or scratch / "config.yaml"
    if args.config is None:
        config.write_text(CONFIG, encoding="utf-8")
    outs = [scratch / f"{folder.name}-{seed}" for seed in range(args.seeds)]
    for seed, out in enumerate(outs):
        harness(args, "run", folder, "--config", str(config), "--seed", str(seed), "--out", str(out))
    board = harness(args, "report", folder, "--out", *map(str, outs), capture=True)
    # What is shown without a rank stands in brackets, and is nobody's to run.
    ranked = "\n".join(line for line in board.rstrip().splitlines() if not line.startswith("("))
    return f"### {name}\n\n```\n{ranked}\n```\n"


def harness(args: argparse.Namespace, action: str, folder: Path, *more: str, capture: bool = False) -> str:
    """Call the harness, with the interpreter that has streamgmm; its progress goes to stderr."""
    chosen = ["--sets", args.sets] if args.sets else []
    command = [sys.executable, str(args.harness), action, "--data", str(folder), *chosen, *more]
    done = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE if capture else sys.stderr)
    return done.stdout or ""


def described(args: argparse.Namespace) -> str:
    """Return what the board is of."""
    config = CONFIG if args.config is None else args.config.read_text(encoding="utf-8")
    return f"Mean of {args.seeds} seeds, one configuration for every stream:\n\n```yaml\n{config.strip()}\n```"


def spliced(page: str, text: str) -> str:
    """Return the page with the text between the marks; they are added at its end where they are missing."""
    if BEGIN not in page:
        page = f"{page.rstrip()}\n\n{HEADING}\n\n{BEGIN}\n{END}\n"
    return pages.replaced(page, "quality", text)


if __name__ == "__main__":
    main()
