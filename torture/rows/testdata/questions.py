"""Asks one worker, as an operator does: questions.py URL NODE ROUNDS.

Prints JSON: the seconds that each question took, and what was not answered.
"""
import json
import sys
import time

from celery import Celery

URL, NODE, ROUNDS = sys.argv[1:]

app = Celery("operator", broker=URL, backend=URL)
took, unanswered = [], []


def ask(what, question):
    begin = time.monotonic()
    answer = question()
    took.append(time.monotonic() - begin)
    if not answer:
        unanswered.append(what)


# The first question opens connections, which is not what is measured.
app.control.inspect(destination=[NODE], timeout=5, limit=1).ping()
for _ in range(int(ROUNDS)):
    inspect = app.control.inspect(destination=[NODE], timeout=5, limit=1)
    for name in ("ping", "active", "stats", "reserved", "registered", "active_queues"):
        ask(name, getattr(inspect, name))
    control = dict(destination=[NODE], reply=True, timeout=5, limit=1)
    ask("rate_limit", lambda: app.control.broadcast("rate_limit", arguments={"task_name": "e2e.add", "rate_limit": "100/s"}, **control))
    ask("revoke", lambda: app.control.broadcast("revoke", arguments={"task_id": "nobody"}, **control))
print(json.dumps({"took": took, "unanswered": unanswered}))
