"""The configuration: a schema, and a loader that tells every error at once, with its place and its remedy."""

from __future__ import annotations

from streamgmm.config.loader import DAEMON, load, parse
from streamgmm.config.schema import Config

__all__ = ["DAEMON", "Config", "load", "parse"]
