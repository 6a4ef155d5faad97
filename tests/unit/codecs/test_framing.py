import msgspec
import pytest

from streamgmm import registry
from streamgmm.codecs import _framing


@pytest.mark.parametrize(
    ("value", "codec", "said"),
    [
        (b'{"a": 1}', "float32", "; starts with '{': is this JSON? Use codec json"),
        (b"[1, 2]", "msgpack", "; starts with '[': is this JSON? Use codec json"),
        (b"\0\0\0\0\x07abc", "json", "; starts with byte 0: Confluent framing? Use codec avro"),
        (b'\0\0\0\0\x07{"a"', "csv", "; starts with byte 0: is this JSON behind Confluent framing? Use codec json"),
        (b"Obj\x01\x04", "avro", "; starts with 'Obj': is this an Avro container file? A record is one datum"),
        (msgspec.msgpack.encode({"a": 1}), "json", "; starts with byte 81: is this MessagePack? Use codec msgpack"),
        (msgspec.msgpack.encode([1] * 20), "json", "; starts with byte dc: is this MessagePack? Use codec msgpack"),
    ],
)
def test_it_says_what_the_bytes_look_like(value, codec, said):
    assert _framing.hint(value[: _framing.HEAD_BYTES], codec) == said


@pytest.mark.parametrize("codec", registry.names("codecs"))
@pytest.mark.parametrize("head", [b"{", b"[", b"\0", b"\x81", b"", b"plain"])
def test_a_codec_is_never_told_to_use_itself(codec, head):
    assert f"codec {codec}" not in _framing.hint(head, codec)


def test_plain_text_looks_like_nothing():
    assert _framing.hint(b"1,2,3", "json") == ""
