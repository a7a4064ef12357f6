"""kombu's side of the tests that need Python: answers requests, one JSON per line.

    {"op": "write"}                 every value below, in every serializer that can
                                    write it, as kombu publishes it
    {"op": "read", "case", "raw"}   whether kombu reads the published text raw as
                                    the value, and the same type by type
    {"op": "result", "serializer", "raw"}  what Celery makes of a stored result
    {"op": "transcode", "type", "body"}    what kombu's JSON makes of a body

Bodies and raw texts are in base64.
"""
import base64
import json
import math
import sys
import uuid
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal

import kombu
import kombu.serialization
import msgpack
from kombu.utils import json as kombu_json

ACCEPT = {"application/json", "application/x-yaml", "application/x-msgpack"}
COMPRESSIONS = ["", "zlib", "bzip2", "lzma", "brotli", "zstd"]

shared = ["same", 1]
CASES = {
    "empty": [],
    "integers": [0, -1, 1, 127, 128, -32, -33, -128, -129, 255, 256, 65535, 65536, -32768, -32769, 2**31, -2**31 - 1,
                 2**32 - 1, 2**32, 2**53 + 1, 2**63 - 1, -2**63, 2**64 - 1],
    "integers beyond 64 bits": [2**64, -2**63 - 1, 2**70, -10**40],
    "floats": [1.0, -0.0, 0.1, 1.5, 1e15, 1e16, 1e22, 1.25e100, 1e-4, 1e-5, 1e-7, 5e-324, 1.7976931348623157e308,
               123456789.125, -2.5e-300, 3.0e16],
    "no numbers": [math.nan, math.inf, -math.inf],
    "words": [None, True, False],
    "texts that look like something else": [
        "", " ", "yes", "No", "on", "OFF", "null", "Null", "~", "true", "1", "-1", "+1", "1.0", ".5", "1e5", "1.0e+5",
        "0x1f", "0b1", "0o7", "07", "08", "1_000", "190:20:30", "190:20:30.15", ".inf", "-.INF", ".nan", "NaN", "Infinity",
        "2026-01-31", "2026-01-31 20:00:00", "2026-01-31T20:00:00Z", "=", "<<", "!", "!!str", "&a", "*a", "%YAML", "@", "`",
        "---", "...", "-", "- a", "?", "? a", ":", "a: b", "a:b", "a :b", "#", "a #b", "a# b", "[", "]", "{", "}", ",",
        "|", ">", "'", '"', "''", "\\", "\\n", "it's", 'a "quote"', "{a: b}", "[a, b]", "key: [v", "__type__"],
    "texts with blanks": [
        " leading", "trailing ", "  both  ", "tab\there", "\ttab", "line\nbreak", "\nleading", "trailing\n", "two\n\n", "\n",
        "\n\n\n", "carriage\rreturn", "both\r\n", " indented\n  more\n", "a\n b\n  c", "a\n\nb", "word " * 60, "x" * 300,
        "long " * 30 + "\n" + "lines " * 30],
    "texts beyond ASCII": [
        "Zo\u00eb", "\u00df", "\u20ac", "\U0001f600", "\U0010ffff", "\ufeff", "\ufffd", "\ufffe", "\u0000", "\u0007", "\u001b", "\u007f",
        "\u0085", "\u00a0", "\u2028", "a\u2029b", "\u0100\u0300", "\u043f\u0440\u0438\u0432\u0435\u0442 " * 20],
    "surrogates": ["\ud800", "a\udfffb"],
    "bytes": [b"", b"abc", "Zo\u00eb".encode(), b"\x00", b"\xff\x00\xfe", bytes(range(256)), b"x" * 70_000],
    "datetimes": [
        datetime(2026, 1, 31, 20), datetime(2026, 1, 31, 20, 0, 0, 123456), datetime(2026, 1, 31, 20, 0, 0, 120000),
        datetime(2026, 1, 31, 20, tzinfo=timezone.utc), datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999),
        datetime(2026, 1, 31, 20, 0, 0, 1, tzinfo=timezone(timedelta(hours=5, minutes=30))),
        datetime(2026, 1, 31, 20, tzinfo=timezone(-timedelta(hours=9, minutes=30)))],
    "dates": [date(2026, 1, 31), date(1, 1, 1), date(2024, 2, 29)],
    "what only JSON has": [Decimal("59.90"), time(20, 0, 1), uuid.UUID("12345678123456781234567812345678")],
    "containers": [[], {}, [[]], [{}], {"a": []}, {"a": {}}, [[[[1]]], {"b": [{"c": {"d": [None]}}]}]],
    "deep": [[[[[[[[[[[[[[[[[[[[[[[[["down here"]]]]]]]]]]]]]]]]]]]]]]]]],
    "tuples": (1, (2, (3, ())), [(4,)]),
    "shared": [shared, shared, {"again": shared}],
    "keys": [{"": 1, "a b": 2, "yes": 3, "1": 4, "null": 5, "\u00e9": 6, "a: b": 7, "- x": 8, "#": 9, "=": 10, "<<x": 11,
              "line\nbreak": 12, "k" * 2000: 13, "\U0001f600" * 30: 14, "? a": 15, "~": 16}],
    "keys that are no texts": [{1: "a", -2: "b", 2.5: "c", None: "e", True: "d"}],
    "typed, but not for kombu": [{"__type__": "money", "amount": 1}, {"__type__": "x", "__value__": 1, "more": 2}, {"__value__": 1}],
    "many": [{"id": i, "name": f"guest {i}", "paid": i % 3 == 0, "price": i / 4} for i in range(60)],
    "order": {"b": 1, "a": 2, "c": {"z": 1, "y": 2}},
}
# Without a counterpart in JSON: what a reader of JSON finds in place of it.
NOT_THE_SAME = {"tuples", "keys that are no texts"}


def plain(value):
    """The value with tuples as lists, and keys as JSON has them."""
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {k if isinstance(k, str) else json.dumps(k): plain(v) for k, v in value.items()}
    return value


def same(a, b):
    if type(a) is not type(b):
        return False
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(v, b[k]) for k, v in a.items())
    if isinstance(a, float):
        return math.isnan(a) and math.isnan(b) or a == b and math.copysign(1, a) == math.copysign(1, b)
    if isinstance(a, datetime):
        return a == b and a.utcoffset() == b.utcoffset()
    return a == b


connection = kombu.Connection("memory://")
channel = connection.channel()


def write(_):
    queue = kombu.Queue("q", channel=channel)
    queue.declare()
    producer = connection.Producer(channel)
    for n, (name, value) in enumerate(CASES.items()):
        compressions = COMPRESSIONS if name == "many" else ["", COMPRESSIONS[1 + n % 5]]
        body = ([value], {"kwarg": value}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None})
        for serializer in "json", "yaml", "msgpack":
            for compression in compressions:
                answer = {"case": name, "serializer": serializer, "compression": compression}
                try:
                    producer.publish(body, routing_key="q", exchange="", serializer=serializer,
                                     compression=compression or None, headers={"task": "t", "id": "i"})
                except Exception as e:
                    answer["error"] = type(e).__name__
                    yield answer
                    break
                raw = json.dumps(channel._get("q"))
                answer["raw"] = base64.b64encode(raw.encode()).decode()
                try:
                    answer["value"] = kombu_json.dumps(value)
                    # In the order in which the reader finds it.
                    args = channel.Message(json.loads(raw), channel=channel, accept=ACCEPT).payload[0]
                    answer["want"] = kombu_json.dumps(args)
                except Exception as e:
                    answer["unread"] = type(e).__name__
                yield answer
    yield {"done": True}


def read(request):
    raw = base64.b64decode(request["raw"])
    args, kwargs, embed = channel.Message(json.loads(raw), channel=channel, accept=ACCEPT).payload
    value = plain(CASES[request["case"]])
    ok = same(args, [value]) and same(kwargs, {"kwarg": value}) and embed == dict.fromkeys(("callbacks", "errbacks", "chain", "chord"))
    yield {"ok": ok, "got": "" if ok else repr(args)[:2000]}


def result(request):
    from celery import Celery
    from celery.backends.base import KeyValueStoreBackend

    app = Celery(backend="cache+memory://", broker="memory://")
    app.conf.update(result_serializer=request["serializer"], accept_content=["json", "yaml", "msgpack"])
    backend = KeyValueStoreBackend(app=app)
    if "raw" not in request:  # write one
        meta = {"status": "SUCCESS", "result": {"ok": True, "when": date(2026, 1, 31), "raw": b"\xff"}
                if request["serializer"] == "yaml" else {"ok": True, "price": 1.0},
                "traceback": None, "children": [], "date_done": "2026-11-23T20:28:41.188338+00:00", "task_id": "i"}
        if request.get("compression"):
            backend.compression = request["compression"]
        raw = backend.encode(meta)
        raw = raw if isinstance(raw, bytes) else raw.encode()
        yield {"raw": base64.b64encode(raw).decode()}
        return
    meta = backend.decode(base64.b64decode(request["raw"]))
    yield {"got": kombu_json.dumps(meta)}


def transcode(request):
    body = base64.b64decode(request["body"])
    try:
        if request["type"] == "application/x-msgpack":  # kombu takes no keys that are numbers
            value = msgpack.unpackb(body, strict_map_key=False)
        else:
            value = kombu.serialization.loads(body, request["type"], "utf-8", accept=ACCEPT)
    except Exception as e:
        yield {"error": type(e).__name__ + ": " + str(e)[:200]}
        return
    try:
        yield {"got": kombu_json.dumps(value)}
    except Exception as e:
        yield {"error": "not for JSON: " + type(e).__name__ + ": " + str(e)[:200], "loads": True}


if hasattr(kombu_json, "register_type"):  # which kombu has no form for, but we have
    kombu_json.register_type(msgpack.Timestamp, "datetime", lambda t: t.to_datetime().isoformat(),
                             datetime.fromisoformat)

for line in sys.stdin:
    request = json.loads(line)
    try:
        for answer in globals()[request["op"]](request):
            print(json.dumps(answer), flush=True)
    except Exception as e:
        print(json.dumps({"error": type(e).__name__ + ": " + str(e)[:500]}), flush=True)
