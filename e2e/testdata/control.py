"""An operator at the console: control.py URL OURS THEIRS.

Asks both workers everything that "celery inspect" and "celery control" can, one
of ours and one of Celery's own, and checks that ours answers in the same shapes
and does what it is told. OURS consumes the queues "both" and "ours", THEIRS "both"
and "theirs". Prints what it has checked; ends with an error at the first thing
that is not as it should be.
"""
import json
import subprocess
import sys
import time

from celery import Celery, __version__
from celery.exceptions import TaskRevokedError

URL, OURS, THEIRS = sys.argv[1:]

app = Celery("peer", broker=URL, backend=URL)
app.conf.update(accept_content=["json"], task_default_queue="both")


def check(condition, *what):
    if not condition:
        sys.exit("control.py: " + " ".join(str(w) for w in what))


def eventually(what, condition, seconds=30):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.1)
    sys.exit(f"control.py: did not come to pass: {what}")


def inspect(method, *args, **kwargs):
    """The answers of both, once both have answered."""
    def ask():
        replies = getattr(app.control.inspect(timeout=3, limit=2), method)(*args, **kwargs) or {}
        return replies if set(replies) == {OURS, THEIRS} else None
    replies = eventually(f"both answer {method}", ask)
    return replies[OURS], replies[THEIRS]


def control(method, nodes=(OURS, THEIRS), **arguments):
    """The answers to a control command, by node."""
    replies = app.control.broadcast(method, arguments=arguments, destination=list(nodes), reply=True, timeout=3, limit=len(nodes))
    merged = {}
    for r in replies:
        merged.update(r)
    check(set(merged) == set(nodes), method, "was answered by", sorted(merged))
    return merged


def shape(value):
    """What a receiver relies on: keys, and kinds of values."""
    if isinstance(value, dict):
        return {k: shape(v) for k, v in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    if isinstance(value, bool) or value is None:
        return type(value).__name__
    if isinstance(value, (int, float)):
        return "number"
    return type(value).__name__


def same(method, ours, theirs):
    check(shape(ours) == shape(theirs), method, "\nours  ", json.dumps(shape(ours)), "\ntheirs", json.dumps(shape(theirs)))


def work(queue, seconds, number, **options):
    return app.send_task("e2e.work", args=[seconds, number], queue=queue, **options)


def running(node):
    replies = app.control.inspect(timeout=3, destination=[node]).active() or {}
    return {t["id"] for t in replies.get(node, [])}


# --- Both are there, by every way to address them.
eventually("both answer", lambda: set(app.control.inspect(timeout=2).ping() or {}) >= {OURS, THEIRS}, 60)
for replies in (
    app.control.ping(timeout=3, limit=2),
    app.control.ping(timeout=3, limit=2, destination=[OURS, THEIRS]),
    app.control.broadcast("ping", reply=True, timeout=3, limit=2, pattern="*@*", matcher="glob"),
    app.control.broadcast("ping", reply=True, timeout=3, limit=2, pattern=".*", matcher="pcre"),
):
    nodes = {node: answer for reply in replies for node, answer in reply.items()}
    check(nodes == {OURS: {"ok": "pong"}, THEIRS: {"ok": "pong"}}, "ping:", nodes)
only = app.control.broadcast("ping", reply=True, timeout=1, pattern=OURS.split("@")[0] + "*", matcher="glob")
check([list(r) for r in only] == [[OURS]], "ping by a pattern:", only)

# --- Inspect: the same shapes, while each runs one task and holds others.
later = {node: work(queue, 0, 4, countdown=600) for node, queue in ((OURS, "ours"), (THEIRS, "theirs"))}
scheduled = eventually("both hold the one with a countdown", lambda: all(r := inspect("scheduled")) and r)
blocked = {node: work(queue, 60, 1) for node, queue in ((OURS, "ours"), (THEIRS, "theirs"))}
blocked2 = {node: work(queue, 60, 2, priority=3) for node, queue in ((OURS, "ours"), (THEIRS, "theirs"))}
for node in blocked:
    eventually(f"{node} runs two tasks", lambda: running(node) == {blocked[node].id, blocked2[node].id})
waiting = {node: work(queue, 60, 3) for node, queue in ((OURS, "ours"), (THEIRS, "theirs"))}

for method, arguments in (("clock", ()), ("report", ()), ("active_queues", ()), ("revoked", ())):
    same(method, *inspect(method, *arguments))
check(inspect("memsample")[0].endswith("MB"), "memsample")
ours, theirs = inspect("active", True)
for t in ours + theirs:
    # Celery 5.2 does not know, and says None.
    t["delivery_info"]["redelivered"] = False
same("active, safe", ours, theirs)
check([t["args"] for t in ours] == ["(60, 1)", "(60, 2)"] or [t["args"] for t in ours] == ["[60, 1]", "[60, 2]"], "active, safe:", ours)
ours, theirs = inspect("active")
for t in ours + theirs:
    t["delivery_info"]["redelivered"] = False
same("active", ours, theirs)
check({t["id"] for t in ours} == {blocked[OURS].id, blocked2[OURS].id}, "active:", ours)
check({t["delivery_info"]["priority"] for t in ours} == {0, 3}, "priorities:", ours)
eventually("ours has reserved the third", lambda: [t["id"] for t in inspect("reserved")[0]] == [waiting[OURS].id])
for s in scheduled[0] + scheduled[1]:
    s["request"]["delivery_info"]["redelivered"] = False
same("scheduled", *scheduled)
check(scheduled[0][0]["request"]["id"] == later[OURS].id, "scheduled:", scheduled[0])
ours, theirs = inspect("query_task", blocked[OURS].id, blocked[THEIRS].id, later[OURS].id, "nobody")
check(ours[blocked[OURS].id][0] == "active" and later[OURS].id in ours and len(ours) == 2, "query_task:", ours)
check(list(theirs) == [blocked[THEIRS].id], "query_task:", theirs)
ours, theirs = inspect("registered")
check({"e2e.work", "e2e.add"} <= set(ours) and {"e2e.work", "e2e.add"} <= set(theirs), "registered:", ours)
ours, theirs = inspect("registered", "max_retries", "rate_limit")
check("e2e.add [max_retries=3]" in ours and "e2e.add [max_retries=3]" in theirs, "registered with attributes:", ours, theirs)
ours, theirs = inspect("stats")
missing = set(theirs) - set(ours)
check(missing == set(), "stats lacks", missing)
for part in ("total", "broker", "rusage"):
    gone = {k for k in shape(theirs[part]) if k not in shape(ours[part])} if part != "total" else set()
    check(gone <= {"credential_provider"}, "stats:", part, "lacks", gone)
check(set(theirs["pool"]) <= set(ours["pool"]), "stats: pool lacks", set(theirs["pool"]) - set(ours["pool"]))
check(ours["pool"]["max-concurrency"] == 2 and ours["prefetch_count"] > 0 and ours["total"]["e2e.work"] == 2, "stats:", ours)
ours, theirs = inspect("conf")
check({"broker_url", "result_backend", "accept_content"} <= set(ours), "conf:", ours)
print("inspect: as", THEIRS, "does")

# --- Control: it does what it says.
for method, arguments, want in (
    ("disable_events", {}, "task events already disabled"),
    ("enable_events", {}, "task events enabled"),
    ("enable_events", {}, "task events already enabled"),
    ("disable_events", {}, "task events disabled"),
    ("rate_limit", {"task_name": "e2e.add", "rate_limit": "100/m"}, "new rate limit set successfully"),
    ("rate_limit", {"task_name": "e2e.add", "rate_limit": "0"}, None),  # Celery says "new", though there is none
    ("time_limit", {"task_name": "e2e.add", "hard": 60, "soft": 30}, "time limits set successfully"),
    ("pool_grow", {"n": 1}, "pool will grow"),
    ("add_consumer", {"queue": "added"}, "add consumer added"),
    ("cancel_consumer", {"queue": "added"}, "no longer consuming from added"),
):
    for node, answer in control(method, **arguments).items():
        check("ok" in answer and want in (None, answer["ok"]), node, method, arguments, answer)
for method, arguments, want in (
    ("rate_limit", {"task_name": "nobody", "rate_limit": "1/s"}, "unknown task"),
    ("time_limit", {"task_name": "nobody", "hard": 1}, "unknown task"),
    ("autoscale", {"max": 5, "min": 2}, "ValueError('Autoscale not enabled')"),
    ("pool_restart", {"modules": None, "reload": False, "reloader": None}, "ValueError('Pool restarts not enabled')"),
    ("frobnicate", {}, "KeyError('frobnicate')"),
):
    for node, answer in control(method, **arguments).items():
        check(answer == {"error": want}, node, method, arguments, answer)

# The slot that pool_grow gave runs the task that waited.
eventually("three run", lambda: running(OURS) == {r.id for r in (blocked[OURS], blocked2[OURS], waiting[OURS])})
check(inspect("stats")[0]["pool"]["max-concurrency"] == 3, "pool_grow")
control("pool_shrink", n=1)
check(len(running(OURS)) == 3, "pool_shrink cuts off nothing")

# A new queue is consumed, a cancelled one is not.
control("add_consumer", [OURS], queue="added")
check("added" in [q["name"] for q in inspect("active_queues")[0]], "add_consumer")
control("pool_grow", [OURS], n=2)
check(work("added", 0, 5).get(timeout=30) == 5, "a task of an added queue")
control("cancel_consumer", [OURS], queue="added")
stays = work("added", 0, 6)
check(work("ours", 0, 7).get(timeout=30) == 7, "a task of the other queue")
check(stays.state == "PENDING", "a task of a cancelled queue is", stays.state)

# Revoked before it runs, terminated while it runs.
gone = work("ours", 0, 8, countdown=2)
gone.revoke()
eventually("both know of it", lambda: all(gone.id in ids for ids in inspect("revoked")))
for result in (gone, blocked[OURS]):
    if result is not gone:
        answers = app.control.revoke([result.id], terminate=True, reply=True, timeout=3, limit=2)
        check({OURS: {"ok": "terminate: " + result.id}} in answers, "terminate:", answers)
    try:
        sys.exit(f"control.py: a revoked task returned {result.get(timeout=30)}")
    except TaskRevokedError:
        pass
if tuple(int(n) for n in __version__.split(".")[:2]) >= (5, 3):
    stamped = work("ours", 0, 9, countdown=2, stamped_headers=["tenant"], tenant="t1")
    answers = app.control.revoke_by_stamped_headers({"tenant": ["t1"]}, reply=True, timeout=3, limit=2)
    check(len(answers) == 2, "revoke_by_stamped_headers:", answers)
    try:
        sys.exit(f"control.py: a task with a revoked stamp returned {stamped.get(timeout=30)}")
    except TaskRevokedError:
        pass
print("control: does what it says")

# --- The console.
for command, part in (
    (["inspect", "ping"], OURS), (["status"], OURS), (["inspect", "stats", "-j"], '"max-concurrency"'), (["inspect", "active_queues"], "ours"),
    (["control", "--destination", OURS, "rate_limit", "e2e.add", "10/m"], "new rate limit set successfully"),
):
    out = subprocess.run([sys.executable, "-m", "celery", "--broker", URL, *command], capture_output=True, text=True, timeout=60)
    check(out.returncode == 0 and part in out.stdout, "celery", *command, out.returncode, out.stdout, out.stderr)
print("console: celery inspect, control and status")

for results in (blocked, blocked2, waiting, later):
    for result in results.values():
        result.revoke(terminate=True)
app.control.shutdown(destination=[OURS])
eventually("ours is gone", lambda: set(app.control.inspect(timeout=2).ping() or {}) == {THEIRS})
print("shutdown: ours alone")
