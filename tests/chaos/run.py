"""The full chaos run, as `make chaos` starts it: once with kills, once undisturbed; exit code 1 if a check fails.

PYTHONPATH=tests python -m chaos.run [--short] [--only chaos|undisturbed]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from chaos.judge import judge, memory, table
from chaos.plan import FULL, SHORT
from chaos.play import play


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="the form that runs with the tests")
    parser.add_argument("--only", choices=("chaos", "undisturbed"))
    parser.add_argument("--keep", type=Path, help="work in this folder and leave everything there")
    args = parser.parse_args()
    plan = SHORT if args.short else FULL
    runs = {"chaos": plan, "undisturbed": plan.undisturbed()}
    failed = False
    for name, one in runs.items():
        if args.only in {None, name}:
            failed |= not _run(name, one, args.keep)
    return int(failed)


def _run(name: str, plan: object, keep: Path | None) -> bool:
    started = time.monotonic()

    def say(text: str) -> None:
        sys.stdout.write(f"{time.monotonic() - started:7.1f} s  {text}\n")
        sys.stdout.flush()

    say(f"{name}: {plan}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = (keep or Path(temporary)) / name
        folder.mkdir(parents=True)
        seen = play(plan, folder, say)
    checks = judge(seen) + ([] if plan.kills else [memory(seen)])
    sys.stdout.write(table(f"\n{name}", checks) + "\n\n")
    return all(check.ok for check in checks)


if __name__ == "__main__":
    raise SystemExit(main())
