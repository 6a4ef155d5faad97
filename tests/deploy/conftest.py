from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def tool():
    """Return what runs a program; without it a test is skipped at home and fails in CI."""

    def run(name, *args, check=True, **kwargs):
        path = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        if path is None:
            missing = f"{name} is not installed"
            if os.environ.get("CI"):
                pytest.fail(missing)
            pytest.skip(missing)
        done = subprocess.run(
            [path, *map(str, args)], capture_output=True, text=True, timeout=600, check=False, **kwargs
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    return run
