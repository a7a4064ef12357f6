"""Writes vectors.jsonl: what Python's compression modules make of a few texts.

    python record.py > vectors.jsonl

with the packages of celery-5 in the test environments of "make setup" (Brotli,
backports.zstd). Each line has the method, a name, the packed bytes in base64,
and the text as a piece and how often it is repeated.
"""
import base64
import bz2
import json
import lzma
import zlib

import brotli

try:
    from compression import zstd
except ImportError:
    from backports import zstd

TEXT = b'[["user@example.com", 1.0], {}, {"callbacks": null}]'


def emit(method, name, packed, piece=TEXT, times=1):
    print(json.dumps({"method": method, "name": name, "packed": base64.b64encode(packed).decode(),
                      "piece": piece.decode(), "times": times}))


for method, module in {"zlib": zlib, "bzip2": bz2, "xz": lzma, "brotli": brotli, "zstd": zstd}.items():
    emit(method, "text", module.compress(TEXT))
    emit(method, "nothing", module.compress(b""), b"")
    emit(method, "40 MB of zeros", module.compress(bytes(40_000_000))[:20_000], b"\0", 40_000_000)

first, second = TEXT[:20], TEXT[20:]
emit("bzip2", "two streams", bz2.compress(first) + bz2.compress(second))
emit("xz", "two streams, padded", lzma.compress(first) + bytes(8) + lzma.compress(second))
emit("zstd", "two frames and a skippable one",
     zstd.compress(first) + b"\x50\x2a\x4d\x18\4\0\0\0abcd" + zstd.compress(second))
emit("zlib", "garbage behind", zlib.compress(TEXT) + b"garbage")
for check in (lzma.CHECK_NONE, lzma.CHECK_CRC32, lzma.CHECK_SHA256):
    emit("xz", f"check {check}", lzma.compress(TEXT, check=check))
emit("xz", "window of 64 MiB", lzma.compress(TEXT * 40, preset=9), TEXT, 40)
emit("xz", ".lzma", lzma.compress(TEXT, format=lzma.FORMAT_ALONE))
emit("xz", ".lzma, window of 64 MiB", lzma.compress(TEXT * 40, format=lzma.FORMAT_ALONE, preset=9), TEXT, 40)
stream = zstd.ZstdCompressor(level=22)
emit("zstd", "window of 128 MiB, no size", stream.compress(TEXT * 40) + stream.flush(), TEXT, 40)
for window in (10, 16, 17, 18, 24):
    emit("brotli", f"window of 2^{window}", brotli.compress(TEXT * 40, lgwin=window), TEXT, 40)
emit("brotli", "720 KB, window of 16 MiB", brotli.compress((b"%08d" % 7) * 90_000, lgwin=24), b"%08d" % 7, 90_000)
