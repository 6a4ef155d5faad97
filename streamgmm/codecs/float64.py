"""Packed little-endian float64: one or several vectors a record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamgmm.codecs._packed import PackedCodec

if TYPE_CHECKING:
    from streamgmm.codecs import CodecSettings


def build(settings: CodecSettings) -> PackedCodec:
    """Return the float64 codec."""
    return PackedCodec(settings, "<f8")
