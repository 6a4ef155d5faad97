"""JSON: an object with the fields by name or dotted path, or an array with the fields by position; a vector a record.

A compiled reader takes what is plain. Whatever it leaves is read with care, and that second reading alone decides: null
and NaN are missing, an overflow or Infinity is `non_finite`, a wrong type is `schema` and says where.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamgmm.codecs._compiled import DocumentCodec
from streamgmm.codecs._json_text import parse
from streamgmm.codecs._objects import ObjectCodec
from streamgmm.codecs.json_kernels import decode_json

if TYPE_CHECKING:
    from streamgmm.codecs import CodecSettings


def build(settings: CodecSettings) -> DocumentCodec | ObjectCodec:
    """Return the JSON codec."""
    return DocumentCodec(settings, decode_json, parse) if settings.unwrap is None else ObjectCodec(settings, parse)
