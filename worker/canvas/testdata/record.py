"""Record what real Celery publishes for many canvases, and while they run.

    python record.py > celery-5.7.json.gz
    python record.py 7 250 settings > celery-5.7-settings.json.gz

Each case is a specification that builds a signature (see build): the fixed ones
(see cases) and some that are made up, 500 of the seed 5 unless told otherwise.
With "settings" there are no fixed ones, and the settings that change messages
(errbacks on chord headers, inherited priorities) are switched on.

The signature is applied twice, as built and after a way through JSON, and then
carried out task by task, oldest message first, by Celery's own tracer. There is
no broker and no Redis: publishing is caught in front of the transport, and the
result backend is Celery's own one for Redis on a dictionary.

Where both ways end in the same, "json" is left out. Every step lists what one
task (the first step: the caller) did: messages, results, chord sizes, saved
groups, members counted, ids revoked. Ids are named in the order of their
appearance.
"""
import gzip
import itertools
import json
import random
import re
import sys
from datetime import datetime, timezone

from celery import Celery, chain, chord, group, signature
from celery.app.trace import build_tracer
from celery.backends.redis import RedisBackend
from celery.canvas import StampingVisitor
from celery.exceptions import Reject
from kombu.utils.json import dumps, loads

app = Celery("record", broker="memory://", set_as_current=True)
app.conf.update(task_create_missing_queues=True, result_expires=3600)
app.now = lambda: datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)


class Log:
    def __init__(self):
        self.queue, self.steps, self.values = [], [], {}

    def step(self):
        self.steps.append({})

    def add(self, what, entry):
        self.steps[-1].setdefault(what, []).append(loads(dumps(entry)))


log = Log()


class Pipeline:
    def __enter__(self):
        return self

    def __exit__(self, *exc):
        pass

    def zrange(self, key, first, last):
        # Redis orders members of one index by their text, that is by their random
        # ids; here it is the order of arrival.
        members = sorted(log.values.get(key, {}).items(), key=lambda m: float(m[1]))
        self.reply = [m[0] for m in members]
        return self

    def execute(self):
        return [self.reply]


class Client:
    def pipeline(self):
        return Pipeline()

    def delete(self, *keys):
        for key in keys:
            log.values.pop(key, None)

    def set(self, key, value, ex=None):
        log.values[key] = value
        m = re.search(r"celery-taskset-meta-(.*?)(\.s)?$", key)
        if m and m.group(2):
            log.add("sizes", [m.group(1), int(value)])
        elif m:
            log.add("groups", [m.group(1), json.loads(value)])

    def incr(self, key, by=1):
        log.values[key] = int(log.values.get(key, 0)) + by
        log.add("joins", [key, by])

    def get(self, key):
        return log.values.get(key)

    def mget(self, keys):
        return [log.values.get(key) for key in keys]


class Backend(RedisBackend):
    client = Client()
    _chord_claim_extend_script = staticmethod(lambda **kw: 1)

    def __init__(self, app, **kw):
        super().__init__(app=app, url="redis://", **kw)

    def on_task_call(self, producer, task_id):
        pass

    def get_key_for_group(self, gid, key=""):
        return "celery-taskset-meta-" + gid + (key or "")

    def get_key_for_task(self, tid, key=""):
        return "celery-task-meta-" + tid

    def _set(self, key, value, expires=None):
        log.values[key] = value
        meta = json.loads(value)
        if "task_id" not in meta:
            return
        entry = {k: meta.get(k) for k in ("task_id", "status", "result", "group_id", "parent_id", "children")}
        log.add("results", entry)

    def add_pending_result(self, *args, **kwargs):
        pass

    def remove_pending_result(self, *args, **kwargs):
        pass

    def iter_native(self, result, **kwargs):
        for node in result.results:
            if hasattr(node, "_cache"):
                yield node.id, node._get_task_meta()
            else:
                yield node.id, node.children

    def wait_for_pending(self, result, propagate=True, **kwargs):
        result._maybe_set_cache(result.backend.get_task_meta(result.id))
        return result.maybe_throw(propagate=propagate)

    def _chord_part_return_script(self, keys, args, client):
        jkey, tkey, skey, dkey, gkey, ckey = keys
        tid, value, ordered, score = args[:4]
        if log.values.get(ckey) == "done":
            return [-1, 0, 0, 0]
        gid = jkey[len("celery-taskset-meta-"):-2]
        value = value.decode() if isinstance(value, bytes) else value
        log.add("parts", [gid, tid, str(score), json.loads(value)])
        log.values.setdefault(jkey, {})[value] = str(score)
        ready, diff, size = len(log.values[jkey]), log.values.get(tkey), log.values.get(skey)
        claimed = int(size is not None and ready == int(size) + int(diff or 0) and ckey not in log.values)
        if claimed:
            log.values[ckey] = "claimed"
        return [ready, diff, size, claimed]

    def _chord_cleanup_script(self, keys, args, client):
        for key in keys[1:]:
            log.values.pop(key, None)
        log.values[keys[0]] = "done"
        return 1


backend = Backend(app)
app._get_backend = lambda: backend


def send_task_message(producer, name, message, queue=None, exchange=None, routing_key=None, headers=None,
                      priority=None, **options):
    headers2, properties, body, _ = message
    h = loads(dumps(headers2))
    h.pop("origin")
    h.pop("lang")
    if h["stamped_headers"] is not None:
        h["stamped_headers"] = sorted(h["stamped_headers"])
    queue = getattr(queue, "name", queue)
    for name in ("retry", "retry_policy", "expiration", "exchange_type", "immutable", "serializer", "interval"):
        options.pop(name, None)
    entry = {
        "headers": h, "body": loads(dumps(body)), "custom": loads(dumps(headers or {})),
        "reply_to": properties["reply_to"], "queue": queue, "priority": priority or 0,
    }
    if exchange is not None:
        entry["exchange"] = getattr(exchange, "name", exchange)
    options = {name: value for name, value in options.items() if value is not None}
    if h["task"] in ("celery.map", "celery.starmap"):
        h.pop("kwargsrepr")  # shows whether args of a signature are a tuple
    if options:
        entry["options"] = loads(dumps(options))
    log.add("messages", entry)
    log.queue.append(entry)


app.amqp.send_task_message = send_task_message
app.control.revoke = lambda ids, **kw: log.add("revoked", ids)


class Stamper(StampingVisitor):
    def __init__(self, stamps):
        self.stamps = stamps

    def on_signature(self, sig, **headers):
        return dict(self.stamps)


def build(spec):
    """Build the signature that a specification describes."""
    if "t" in spec:
        sig = signature("t." + spec["t"], args=tuple(spec.get("args", ())), kwargs=dict(spec.get("kwargs", {})), app=app)
    elif "chain" in spec:
        sig = chain([build(s) for s in spec["chain"]])
    elif "group" in spec:
        tasks = [build(s) for s in spec["group"]]
        sig = group(tasks[0]) if len(tasks) == 1 else group(tasks)
    elif "chord" in spec:
        header, body = spec["chord"]
        sig = chord([build(s) for s in header], build(body))
    else:
        kind, = {"map", "starmap", "chunks"} & set(spec)
        inner = app.tasks[build(spec[kind][0])["task"]]
        sig = getattr(inner, kind)(*spec[kind][1:])
    if "opt" in spec:
        sig.set(**spec["opt"])
    if spec.get("im"):
        sig.set_immutable(True)
    for s in spec.get("link", ()):
        sig.link(build(s))
    for s in spec.get("err", ()):
        sig.link_error(build(s))
    if "stamp" in spec:
        sig.stamp(**spec["stamp"])
    if "visit" in spec:
        sig.stamp(visitor=Stamper(spec["visit"]))
    return sig


def echo(name):
    @app.task(name="t." + name, typing=False)
    def task(*args, **kwargs):
        return [name, *args] + ([kwargs] if kwargs else [])


for letter in "abcdefgh":
    echo(letter)


@app.task(name="t.err1")
def err1(task_id):
    return ["err1", task_id]


@app.task(name="t.err2")
def err2(task_id=None):
    return ["err2"] if task_id is None else ["err2", task_id]



@app.task(name="t.boom", typing=False)
def boom(*args, **kwargs):
    raise ValueError("it's \"boom\"\n", len(args))


@app.task(name="t.err3")
def err3(request, exc, traceback):
    log.add("calls", [request.id, repr(exc)])


@app.task(name="t.rep", bind=True, typing=False)
def rep(self, *args, spec):
    return self.replace(build(spec))


@app.task(name="t.repstamped", bind=True, typing=False)
def repstamped(self, *args, spec, stamps):
    def on_replace(sig):
        sig.stamp(visitor=Stamper(stamps))
        return super(type(self), self).on_replace(sig)
    self.on_replace = on_replace
    return self.replace(build(spec))


@app.task(name="t.addto", bind=True, typing=False)
def addto(self, *args, spec):
    self.add_to_chord(build(spec))
    return "added"


app.finalize()
tracers = {}


def trace(message):
    headers = message["headers"]
    args, kwargs, embed = message["body"]
    name = headers["task"]
    if name not in tracers:
        tracers[name] = build_tracer(name, app.tasks[name], app=app)
    request = dict(
        headers, args=args, kwargs=kwargs, hostname="w", is_eager=False, reply_to=message["reply_to"],
        delivery_info={"exchange": "", "routing_key": message["queue"], "priority": message["priority"]}, **embed)
    request.update(message["custom"])
    tracers[name](headers["id"], args, kwargs, request)


def run(sig, limit=120):
    global log
    log = Log()
    log.step()
    try:
        res = sig.apply_async()
    except Exception as exc:
        return {"error": type(exc).__name__}
    log.steps[-1]["handle"] = loads(dumps(res.as_tuple())) if res is not None else None
    while log.queue and limit:
        limit -= 1
        log.step()
        try:
            trace(log.queue.pop(0))
        except Reject:
            pass
    return {"steps": log.steps}


def named(value, names):
    """Replace ids by names in the order of their appearance."""
    pattern = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    text = json.dumps(value)
    return json.loads(re.sub(pattern, lambda m: names.setdefault(m.group(), "id-%04d" % len(names)), text))


def t(name, *args, **more):
    return dict({"t": name, "args": list(args)}, **more)


def cases():
    """Yield (name, specification)."""
    a, b, c = t("a", 1), t("b", 2), t("c", 3)
    big = 2**70

    # Every combination of compositions, three deep.
    def leaf(i):
        return t("abcdefgh"[i % 8], i)

    def make(kinds, counter):
        if not kinds:
            return leaf(next(counter))
        kind, rest = kinds[0], kinds[1:]
        n = counter
        if kind == "chain":
            return {"chain": [leaf(next(n)), make(rest, n), leaf(next(n))]}
        if kind == "head":
            return {"chain": [make(rest, n), leaf(next(n))]}
        if kind == "tail":
            return {"chain": [leaf(next(n)), make(rest, n)]}
        if kind == "group":
            return {"group": [leaf(next(n)), make(rest, n), leaf(next(n))]}
        if kind == "header":
            return {"chord": [[leaf(next(n)), make(rest, n)], leaf(next(n))]}
        if kind == "body":
            return {"chord": [[leaf(next(n)), leaf(next(n))], make(rest, n)]}

    kinds = ["chain", "head", "tail", "group", "header", "body"]
    for depth in (1, 2, 3):
        for combination in itertools.product(kinds, repeat=depth):
            yield "-".join(combination), make(combination, itertools.count())
    for name, spec in {
        "task": a,
        "task-kwargs": t("a", 1.0, big, "ü'\"\n", None, True, {"k": [1, {"deep": {"deeper": {"more": 1}}}]}, kwargs={"z": 1, "y": 2.5}),
        "task-options": t("a", opt=dict(
            countdown=10, expires=60, queue="q1", priority=6, time_limit=30, soft_time_limit=20.5, shadow="other",
            headers={"X-Custom": {"a": 1}}, ignore_result=True, task_id="given-id", retries=2, app_id="mine")),
        "task-eta": t("a", opt=dict(eta="2026-05-06T07:08:09+02:00", expires="2026-05-07T00:00:00+00:00")),
        "task-routing": t("a", opt=dict(exchange="ex", routing_key="rk", serializer="json")),
        "link": t("a", 1, link=[b]),
        "links": t("a", 1, link=[b, c, {"group": [b, c]}, {"chain": [b, c]}, t("d", im=True)]),
        "link-chord": t("a", 1, link=[{"chord": [[b, c], t("d")]}]),
        "link-group": t("a", 1, link=[{"group": [b, c]}]),
        "link-twice": t("a", 1, link=[b, b]),
        "link-options": t("a", 1, link=[t("b", opt=dict(queue="q2", priority=3, countdown=5, group_id="own"))]),
        "link-nested": t("a", link=[t("b", link=[t("c", link=[t("d")])])]),
        "errback": t("boom", err=[t("err1")]),
        "errbacks": t("boom", err=[t("err1"), t("err2", im=True), t("err3"), {"group": [t("err1"), t("err2")]}]),
        "errback-in-chain": {"chain": [a, t("boom", err=[t("err1")]), c, t("d", err=[t("err2")])]},
        "errback-of-chain": {"chain": [a, t("boom"), c], "err": [t("err1")], "link": [t("d")]},
        "chain-fails-before-group": {"chain": [t("boom"), {"group": [b, c]}, t("d")]},
        "chain-fails-before-chord": {"chain": [t("boom"), {"chord": [[b, c], t("d")]}, t("e")], "err": [t("err1")]},
        "chain-immutable": {"chain": [a, t("b", 2, im=True), t("c")]},
        "chain-options": {"chain": [a, b], "opt": dict(queue="q1", priority=5, countdown=3)},
        "chain-of-one": {"chain": [a]},
        "chain-empty-groups": {"chain": [{"group": []}, a, {"group": []}, b]},
        "chain-links": {"chain": [t("a", link=[t("d")]), t("b", link=[t("e")])], "link": [t("f")]},
        "group-empty": {"group": []},
        "group-of-one": {"group": [a]},
        "group-of-group": {"group": [{"group": [a, b]}, {"group": [c, t("d")]}]},
        "group-options": {"group": [a, b], "opt": dict(queue="q1", priority=5, countdown=3)},
        "group-links": {"group": [t("a", link=[t("d")]), b], "link": [t("e")]},
        "group-errbacks": {"group": [t("boom"), b], "err": [t("err1")]},
        "group-of-empty-chain": {"group": [a, {"chain": []}, b]},
        "chord-empty": {"chord": [[], t("a")]},
        "chord-options": {"chord": [[a, b], t("c")], "opt": dict(queue="q1", priority=5, countdown=3, task_id="chord-id")},
        "chord-body-options": {"chord": [[a, b], t("c", opt=dict(queue="q1", countdown=4, task_id="body-id"))]},
        "chord-links": {"chord": [[a, b], t("c")], "link": [t("d")], "err": [t("err1")]},
        "chord-immutable": {"chord": [[a, b], t("c", im=True)]},
        "chord-fails": {"chord": [[a, t("boom"), b], t("c", err=[t("err1"), t("err3")])]},
        "chord-fails-twice": {"chord": [[t("boom", 1), t("boom")], t("c", err=[t("err1")])]},
        "chord-fails-chain-body": {"chord": [[a, t("boom")], {"chain": [b, c, t("d")]}], "err": [t("err1")]},
        "chord-fails-group-body": {"chord": [[a, t("boom")], {"group": [t("b", err=[t("err2")]), c]}], "err": [t("err1")]},
        "chord-fails-chord-body": {"chord": [[a, t("boom")], {"chord": [[b, c], t("d")]}], "err": [t("err1")]},
        "chord-fails-in-chain": {"chain": [{"group": [a, t("boom")]}, b, {"group": [b, c]}, t("d")], "err": [t("err1")]},
        "chord-member-chain-fails": {"chord": [[{"chain": [t("boom"), b, c]}, a], t("d", err=[t("err1")])]},
        "chord-member-chain-fails-late": {"chord": [[{"chain": [a, t("boom"), c]}, {"chain": [a, b]}], t("d")]},
        "chord-member-chord-fails": {"chord": [[{"chord": [[a, t("boom")], t("b")]}, c], t("d", err=[t("err1")])]},
        "chord-member-chain-before-chord-fails": {"chord": [[{"chain": [t("boom"), {"group": [a, b]}, c]}, a], t("d")]},
        "chord-saved-fails": {"chord": [[{"chain": [a, {"group": [b, t("boom")]}]}, c], t("d", err=[t("err1")])]},
        "chord-in-chord-in-chord": {"chord": [[{"chord": [[{"chord": [[a, b], t("c")]}, c], t("d")]}, b], t("e")]},
        "chord-group-header": {"chord": [[{"group": [a, b, c]}, {"group": [t("d"), t("e")]}], t("f")]},
        "chord-chains-of-groups": {"chord": [[{"chain": [a, {"group": [b, c]}]}, {"chain": [b, {"group": [c, {"group": [a, b]}]}]}], t("d")]},
        "map": {"map": [t("a"), [1, 2, 3]]},
        "starmap": {"starmap": [t("a"), [[1, 2], [3, 4]]]},
        "chunks": {"chunks": [t("a"), [[1, 2], [3, 4], [5, 6]], 2]},
        "map-in-chain": {"chain": [{"map": [t("a"), [1, 2]]}, t("b")]},
        "stamp": t("a", stamp={"one": "1"}, link=[b], err=[t("err1")]),
        "stamp-links": t("a", link=[t("b", link=[t("c")])], stamp={"one": "1", "two": [1, 2]}),
        "stamp-chain": {"chain": [a, t("b", stamp={"own": 7, "one": "x"}), c], "stamp": {"one": "1"}},
        "stamp-group": {"group": [a, {"group": [b, c]}], "stamp": {"one": ["1"]}},
        "stamp-chord": {"chord": [[a, b], t("c", link=[t("d")])], "stamp": {"one": "1"}, "err": [t("err1")]},
        "stamp-chord-in-chain": {"chain": [a, {"group": [b, c]}, t("d"), t("e")], "stamp": {"one": "1"}},
        "visit": t("a", visit={"one": "1"}, link=[b], err=[t("err1")]),
        "visit-chord": {"chord": [[a, b], t("c", link=[t("d")])], "visit": {"one": "1"}},
        "visit-chain": {"chain": [a, {"group": [b, c]}, t("d")], "visit": {"one": "1"}},
        "visit-twice": {"chain": [t("a", stamp={"one": "0"}), t("b", stamp={"other": 2})], "visit": {"one": "1"}},
    }.items():
        yield name, spec
    # Replacements by everything, in every position.
    by = {
        "task": t("b", 9), "chain": {"chain": [b, c]}, "group": {"group": [b, c]}, "group-one": {"group": [b]},
        "chain-group": {"chain": [b, {"group": [c, t("d")]}]}, "chord": {"chord": [[b, c], t("d")]},
        "again": t("rep", kwargs={"spec": t("b")}), "linked": t("b", link=[t("g")], err=[t("err2")]),
        "chain-linked": {"chain": [b, c], "link": [t("g")], "err": [t("err2")]}, "boom": t("boom"),
        "empty-chain": {"chain": []},
        "stamped": t("b", stamp={"one": "1"}), "chord-in-chain": {"chain": [a, {"chord": [[b, c], t("d")]}, t("e")]},
    }
    for name, spec in by.items():
        r = t("rep", 5, kwargs={"spec": spec})
        yield "replace-" + name, r
        yield "replace-" + name + "-linked", dict(r, link=[t("f")], err=[t("err1")], opt={"queue": "q3", "priority": 3})
        yield "replace-" + name + "-chain", {"chain": [a, r, t("f"), t("g")]}
        yield "replace-" + name + "-chain-last", {"chain": [a, r]}
        yield "replace-" + name + "-chain-group", {"chain": [r, {"group": [t("f"), t("g")]}, t("h")]}
        yield "replace-" + name + "-group", {"group": [r, a]}
        yield "replace-" + name + "-chord", {"chord": [[r, a], t("f")]}
        yield "replace-" + name + "-chord-chain", {"chord": [[{"chain": [a, r, t("g")]}, b], t("f")]}
    yield "replace-stamped", t("rep", kwargs={"spec": t("b")}, stamp={"one": "1"}, link=[t("c")])
    for name in ("task", "chain", "chord", "group"):
        yield "replace-visited-" + name, t("repstamped", kwargs={"spec": by[name], "stamps": {"two": 2}}, stamp={"one": "1"}, link=[t("c")])
    for name in ("task", "chain", "chord", "boom", "linked"):
        yield "add-to-chord-" + name, {"chord": [[t("addto", kwargs={"spec": by[name]}), a], t("f")]}
    yield "add-to-chord-none", t("addto", kwargs={"spec": t("b")})


def at_random(r, depth, replacing=True):
    """Make up a specification."""
    kind = r.choice(["task"] * 4 + ["chain", "chain", "group", "chord"] * bool(depth))
    if kind == "task":
        names = ["a", "b", "c", "d", "e", "f", "g", "h"] * 3 + ["boom"] + ["rep", "addto"] * replacing
        spec = t(r.choice(names), r.randrange(10))
        if spec["t"] in ("rep", "addto"):
            spec["kwargs"] = {"spec": at_random(r, min(depth, 1), replacing=False)}
    elif kind == "chord":
        header = [at_random(r, depth - 1) for _ in range(r.randrange(1, 4))]
        spec = {kind: [header, at_random(r, depth - 1)]}
    else:
        spec = {kind: [at_random(r, depth - 1) for _ in range(r.randrange(0 if depth < 3 else 1, 4))]}
    if r.random() < .15:
        spec["opt"] = r.choice([
            {"queue": "q1"}, {"priority": 4}, {"countdown": 3}, {"expires": 90, "shadow": "s"},
            {"headers": {"x": 1}, "time_limit": 9}, {"ignore_result": True}, {"root_id": "root"},
            {"group_id": "own-group"}, {"task_id": "own-task-%d" % r.randrange(1000)}])
        if app.conf.task_inherit_parent_priority:
            # A chord body with a queue of its own inherits no priority, because
            # the router leaves the default None of the task in place then.
            spec["opt"].pop("queue", None)
    if r.random() < .1:
        spec["im"] = True
    if r.random() < .15:
        spec["link"] = [at_random(r, depth and depth - 1, replacing=False) for _ in range(r.randrange(1, 3))]
    if r.random() < .15:
        spec["err"] = [r.choice([t("err1"), t("err2", im=True), t("err3")]) for _ in range(r.randrange(1, 3))]
    if r.random() < .1:
        spec[r.choice(["stamp", "visit"])] = r.choice([{"one": "1"}, {"two": 2}, {"many": [1, 2]}])
    return spec


def main():
    out = []
    arguments = [int(arg) for arg in sys.argv[1:] if arg.isdigit()]
    seed, count = arguments or (5, 500)
    r = random.Random(seed)
    fixed = cases()
    if "settings" in sys.argv:
        fixed = ()
        app.conf.update(task_allow_error_cb_on_chord_header=True, task_inherit_parent_priority=True)
    made_up = (("random-%03d" % i, at_random(r, 1 + i % 3)) for i in range(count))
    for name, spec in itertools.chain(fixed, made_up):
        try:
            case = {"name": name, "spec": spec, "signature": loads(dumps(build(spec)))}
        except Exception:
            continue  # made up, and refused by Celery
        case["object"] = named(run(build(spec)), {})
        again = named(run(signature(json.loads(dumps(build(spec))), app=app)), {})
        if again != case["object"]:
            case["json"] = again
        out.append(case)
    text = json.dumps(out, separators=(",", ":")) + "\n"
    sys.stdout.buffer.write(gzip.compress(text.encode(), mtime=0))


main()
