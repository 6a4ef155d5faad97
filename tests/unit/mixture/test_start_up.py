"""What a fresh process pays: nothing is compiled that a cache holds, wherever the cache is, whatever the CPU."""

import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from llvmlite import binding

import streamgmm

SOURCE = Path(streamgmm.__file__).parent
# Imports the kernels, fits and scores with every type, complete rows and others; prints hits and misses of the cache.
PROGRAM = textwrap.dedent("""
    import sys
    import numpy as np
    from numba.core.dispatcher import Dispatcher
    from streamgmm import GaussianMixture
    X = np.random.default_rng(0).normal(size=(60, 3))
    X[3, 1] = X[9, 0] = np.nan
    scores = []
    for kind in ("full", "tied", "diag", "spherical"):
        model = GaussianMixture(2, covariance_type=kind, random_state=0).fit(X)
        scores += [model.score(X), model.score(X[:1])]
    modules = [m for name, m in sys.modules.items() if name.startswith("streamgmm.mixture.")]
    found = {v for m in modules for v in vars(m).values() if isinstance(v, Dispatcher) and not v._can_compile}
    print(*(sum(sum(getattr(k.stats, what).values()) for k in found) for what in ("cache_hits", "cache_misses")))
    print(sys.modules["streamgmm.mixture.simd_kernels"].WIDTH)
    print(*scores)
""")


def run(cwd, cache, **more):
    """Return cache hits and misses, the width of vectors, and scores, of a fresh process."""
    environment = {"NUMBA_CACHE_DIR": str(cache), "PATH": "", "PYTHONDONTWRITEBYTECODE": "1", **more}
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM]
    done = subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    counts, width, scores = done.stdout.splitlines()
    return [int(word) for word in counts.split()], int(width), np.array(scores.split(), dtype=float)


@pytest.mark.timeout(400)
def test_a_second_process_compiles_nothing_also_where_the_source_is_read_only(tmp_path):
    """As root, permissions stop nobody: what counts is that nothing appears beside the sources."""
    package = tmp_path / "site" / "streamgmm"
    package.mkdir(parents=True)
    for name in ("__init__.py", "errors.py", "cache_kernels.py"):
        shutil.copy(SOURCE / name, package)
    shutil.copytree(SOURCE / "mixture", package / "mixture", ignore=shutil.ignore_patterns("__pycache__"))
    files = sorted(package.rglob("*"))
    cache = tmp_path / "cache"
    for path in (*files, package):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        first, _, _ = run(tmp_path, cache, PYTHONPATH=str(package.parent))
        second, _, _ = run(tmp_path, cache, PYTHONPATH=str(package.parent))
    finally:
        for path in (package, package / "mixture"):
            path.chmod(0o755)
    assert first[0] == 0
    assert first[1] > 20
    assert second == [first[1], 0]
    assert sorted(package.rglob("*")) == files
    assert list(cache.rglob("*.nbi"))


@pytest.mark.timeout(400)
@pytest.mark.skipif(not binding.get_host_cpu_features().get("avx2", False), reason="needs AVX2, whose path it is")
def test_vectors_of_four_give_what_vectors_of_eight_do(tmp_path):
    """The path of machines without AVX-512, on any that has AVX2."""
    features = binding.get_host_cpu_features()
    narrow = ",".join(f"{'+' if on and 'avx512' not in name else '-'}{name}" for name, on in sorted(features.items()))
    _, _, usual = run(SOURCE.parent, "")
    asked = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": narrow}
    (_, misses), width, scores = run(SOURCE.parent, tmp_path / "narrow", **asked)
    assert misses > 20
    assert width == 4
    np.testing.assert_allclose(scores, usual, rtol=1e-12)
