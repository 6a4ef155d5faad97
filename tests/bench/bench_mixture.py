"""The mixture against scikit-learn: one thread each, CPU time of the thread, in one run; writes docs/benchmarks.md.

`PYTHONPATH=. python tests/bench/bench_mixture.py [--quick]` prints; `--write` also replaces the tables in the docs, and
`--only threads` or `--only missing` runs (and replaces) that part alone.
"""

from __future__ import annotations

import os

os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")

import argparse
import platform
import statistics
import subprocess
import sys
import time
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import sklearn
from llvmlite import binding
from sklearn.mixture import GaussianMixture as Theirs

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent)]

import pages  # noqa: E402  # found through the path above
from mixtures import TYPES, draw, random_mixture  # noqa: E402  # as above

from streamgmm import GaussianMixture as Ours  # noqa: E402  # as above
from streamgmm.mixture import em  # noqa: E402  # as above
from streamgmm.mixture.scoring import log_density  # noqa: E402  # as above
from streamgmm.mixture.simd_kernels import WIDTH  # noqa: E402  # as above

# A single call is shorter than what the clock can tell.
CALLS = range(100)
FEATURES, COMPONENTS = (4, 8, 16, 32, 64), (4, 8, 16, 32)
TARGETS = {  # what → type → (median, least)
    "score": {"full": (6, 2), "tied": (20, 2), "spherical": (10, 2), "diag": (8, 2)},
    "one row": dict.fromkeys(TYPES, (20, 20)),
    "EM": {"full": (8, 2), "tied": (5, 2), "spherical": (5, 2), "diag": (5, 2)},
}


def best(run, budget, clock=time.thread_time):
    """Return the least seconds of a few runs, CPU time of the thread unless told otherwise."""
    run()
    least, spent = np.inf, -1e-9
    while spent < budget:
        start = clock()
        run()
        least = min(least, clock() - start)
        spent += least
    return least


def as_theirs(params, model):
    """Give scikit-learn's estimator (or ours) the parameters of a mixture."""
    model.weights_, model.means_ = params.weights, params.means
    model.covariances_, model.precisions_cholesky_ = params.covariances, params.precisions_cholesky
    model.n_features_in_ = params.n_features
    return model


def measure(kind, d, K, rows, em_rows, rng, budget):
    """Return seconds of (ours, theirs) for each measurement."""
    params = random_mixture(rng, kind, K, d)
    X = draw(params, max(rows, em_rows), rng)
    theirs = as_theirs(params, Theirs(K, covariance_type=kind))
    ours = as_theirs(params, Ours(K, covariance_type=kind))
    ours.parameters_ = params
    x, scored, learnt = X[:1].copy(), X[:rows].copy(), X[:em_rows].copy()

    def their_pass():
        model = as_theirs(params, Theirs(K, covariance_type=kind))
        _, log_resp = model._e_step(learnt)
        model._m_step(learnt, log_resp)

    return {
        "score": (
            best(lambda: log_density(params, scored), budget),
            best(lambda: theirs.score_samples(scored), budget),
        ),
        "one row": tuple(
            best(lambda m=m: [m.score_samples(x) for _ in CALLS], budget) / len(CALLS) for m in (ours, theirs)
        ),
        "EM": (best(lambda: em.run(params, learnt, 1, 0.0, em.Protection()), budget), best(their_pass, budget)),
    }


def memory(rng, rows=100_000, d=16, K=16):
    """Return peak bytes beyond the data of one EM pass of (ours, theirs)."""
    params = random_mixture(rng, "full", K, d)
    X = draw(params, rows, rng)
    model = as_theirs(params, Theirs(K))

    def their_pass():
        _, log_resp = model._e_step(X)
        model._m_step(X, log_resp)

    peaks = []
    for run in (lambda: em.run(params, X, 1, 0.0, em.Protection()), their_pass):
        tracemalloc.start()
        run()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    return peaks


def missing_costs(rng, kind, d, K, rows=32_768, patterns=16):
    """Return the cost of a row with missing features relative to a complete one.

    Of few patterns, of many (10 % and 30 % missing), and of few with `invariant`, as the detector asks for it.
    """
    params = random_mixture(rng, kind, K, d)
    X = draw(params, rows, rng)
    few = (rng.random((patterns, d)) < 0.3)[rng.integers(patterns, size=rows)]
    cases = [(few, False), (rng.random((rows, d)) < 0.1, False), (rng.random((rows, d)) < 0.3, False), (few, True)]
    complete = best(lambda: log_density(params, X), 0.2)
    ratios = []
    for holes, invariant in cases:
        holed = np.where(holes, np.nan, X)
        seconds = best(lambda holed=holed, invariant=invariant: log_density(params, holed, invariant=invariant), 0.2)
        complete = min(complete, best(lambda: log_density(params, X), 0.05))
        ratios.append(seconds)
    return [seconds / complete for seconds in ratios]


def missing_part(rng):
    """Return what missing features cost as Markdown."""
    found = {
        (kind, d, K): missing_costs(rng, kind, d, K)
        for kind in TYPES
        for d, K in ((4, 4), (4, 16), (8, 8), (16, 16), (32, 4), (32, 16))
    }
    lines = [
        "| type | d | K | 16 patterns, 30 % missing | scattered, 10 % | scattered, 30 % | 16 patterns, invariant |",
        "|---" * 7 + "|",
    ]
    lines += [
        f"| {kind} | {d} | {K} | " + " | ".join(f"{ratio:.1f}×" for ratio in ratios) + " |"
        for (kind, d, K), ratios in found.items()
    ]
    worst = max(ratios[0] for ratios in found.values())
    table = "\n".join(lines)
    return (
        "A row with missing features costs this many times as much as a complete one (32768 rows, CPU time of the "
        f"thread, in one run); the aim is 3× for 16 patterns, the worst here is {worst:.1f}×. `invariant`, as the "
        "detector asks for it, gives a row the same bits whatever rows stand beside it, and does not bring rows "
        f"together.\n\n{table}\n"
    )


def threads_part(rng, d=16, K=16, rows=200_000, turns=15):
    """Return as Markdown how two threads compare with one: medians and quartiles of elapsed time, by turns."""
    params = random_mixture(rng, "full", K, d)
    X = draw(params, rows, rng)
    runs = {
        "scoring": lambda n: log_density(params, X, n_threads=n),
        "an EM pass": lambda n: em.run(params, X, 1, 0.0, em.Protection(), n_threads=n),
    }
    load = os.getloadavg()[0]
    gains = {what: [] for what in runs}
    for _ in range(turns):  # by turns, so that neighbours disturb both alike
        for what, run in runs.items():
            one, two = (best(lambda run=run, n=n: run(n), 0.0, time.perf_counter) for n in (1, 2))
            gains[what].append(one / two)
    told = []
    for what, ratios in gains.items():
        low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
        told.append(f"{what} {middle:.2f}× as fast as with one (quartiles {low:.2f} to {high:.2f})")
    return (
        f"Two threads ({rows} × {d}, {K} components, full; elapsed time, median of {turns} turns): {', '.join(told)}. "
        f"The machine has {os.cpu_count()} cores, which were shared with other work: the load average was {load:.1f} "
        "as the run began.\n"
    )


def machine():
    """Describe the machine and the libraries."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    features = binding.get_host_cpu_features()
    sets = [name for name in ("avx512f", "avx2", "fma", "neon") if features.get(name)]
    return (
        f"{model} (LLVM: {binding.get_host_cpu_name()}; {', '.join(sets)}; vectors of {WIDTH} doubles), "
        f"Python {platform.python_version()}, numpy {np.__version__}, scikit-learn {sklearn.__version__}"
    )


def start_up():
    """Return seconds from a fresh process to the first score of each type, with a warm cache."""
    program = (
        "import time; t = time.process_time(); import numpy as np; from streamgmm import GaussianMixture as G\n"
        "X = np.arange(20.0).reshape(10, 2) % 7\n"
        "for kind in ('full', 'tied', 'diag', 'spherical'): G(covariance_type=kind).fit(X).score_samples(X)\n"
        "print(time.process_time() - t)"
    )
    runs = [subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True) for _ in "ab"]
    return float(runs[-1].stdout)


def table(results):
    """Return the summary and the grid as Markdown."""
    lines = ["| measurement | type | median | least | aim |", "|---|---|---|---|---|"]
    for what, targets in TARGETS.items():
        for kind, (median, least) in targets.items():
            ratios = [
                theirs / ours for (k, *_), found in results.items() if k == kind for ours, theirs in [found[what]]
            ]
            lines.append(
                f"| {what} | {kind} | {statistics.median(ratios):.1f}× | {min(ratios):.1f}× | {median}× / {least}× |"
            )
    lines += [
        "",
        "| type | d | K | score: ns/row | ratio | one row: µs | ratio | EM pass: ns/row | ratio |",
        "|---" * 9 + "|",
    ]
    for (kind, d, K, rows, em_rows), found in results.items():
        cells = [
            f"{ours / n * scale:.{digits}f} | {theirs / ours:.1f}×"
            for (ours, theirs), n, scale, digits in zip(
                found.values(), (rows, 1, em_rows), (1e9, 1e6, 1e9), (0, 1, 0), strict=True
            )
        ]
        lines.append(f"| {kind} | {d} | {K} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def grid_part(rng, options):
    """Return the comparison with scikit-learn as Markdown."""
    rows, em_rows, budget = (8_192, 10_000, 0.05) if options.quick else (32_768, options.em_rows, 0.1)
    points = [(d, K) for d in FEATURES for K in COMPONENTS]
    results = {}
    for kind in TYPES:
        for d, K in points[::4] if options.quick else points:
            results[kind, d, K, rows, em_rows] = measure(kind, d, K, rows, em_rows, rng, budget)
            sys.stderr.write(f"{kind} d={d} K={K}\n")
    ours, theirs = memory(rng)
    return (
        f"{machine()}.\n\n"
        "scikit-learn's time divided by ours; one thread each, CPU time of the thread, best of several "
        f"in one run. `score_samples` on {rows} rows and on one row, one EM pass on {em_rows} rows; the aim is for the "
        "median and for the least of the grid.\n\n"
        f"{table(results)}\n\n"
        f"Peak memory of an EM pass beyond the data (100000 × 16, 16 components, full): {ours / 1e6:.1f} MB, "
        f"scikit-learn {theirs / 1e6:.0f} MB. "
        "A fresh process with a warm cache is at the first score of every type after "
        f"{start_up():.1f} s of CPU.\n"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few points of the grid, fewer rows")
    parser.add_argument("--em-rows", type=int, default=100_000, help="rows of an EM pass")
    parser.add_argument("--only", choices=("mixture", "threads", "missing"), help="this part alone")
    parser.add_argument("--write", action="store_true", help="replace the tables in docs/benchmarks.md")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(0)
    parts = {
        "mixture": lambda: grid_part(rng, options),
        "threads": lambda: threads_part(rng),
        "missing": lambda: missing_part(rng),
    }
    for name, part in parts.items():
        if options.only in (None, name):
            text = part()
            sys.stdout.write(f"{text}\n")
            if options.write:
                pages.write(name, text)


if __name__ == "__main__":
    main()
