"""Watches tasks as monitors do: receiver.py URL QUEUE COUNT.

Enables events, sends COUNT tasks, a tenth of them to fail, and takes all events in
with Celery's own receiver and its State. Ends with an error when the story of one
task is not whole, has no name, or goes back in time.
"""
import collections
import socket
import sys
import threading
import time

from celery import Celery

URL, QUEUE, COUNT = sys.argv[1], sys.argv[2], int(sys.argv[3])

app = Celery("peer", broker=URL, backend=URL)
app.conf.update(accept_content=["json"], task_send_sent_event=True)
state = app.events.State(max_tasks_in_memory=COUNT + 100)
events = []
problems = []


def check(condition, *what):
    if not condition:
        problems.append(" ".join(str(w) for w in what))


def take(event):
    events.append(event)
    state.event(event)


def watch():
    with app.connection() as connection:
        receiver = app.events.Receiver(connection, handlers={"*": take})
        try:
            receiver.capture(limit=None, timeout=90, wakeup=True)
        except socket.timeout:
            pass


threading.Thread(target=watch, daemon=True).start()
deadline = time.monotonic() + 60
while not any(e["type"] == "worker-heartbeat" for e in events):  # the receiver asks for them
    if time.monotonic() > deadline:
        sys.exit("receiver.py: no heartbeat")
    time.sleep(0.05)
answers = app.control.enable_events(reply=True, timeout=3, limit=1)
check(answers and "ok" in list(answers[0].values())[0], "enable_events:", answers)

sent = []
for i in range(COUNT):
    task, args = ("e2e.add", ["x", i]) if i % 10 == 0 else ("e2e.add", [i, 1])
    sent.append(app.send_task(task, args=args, queue=QUEUE).id)

ended = {"task-succeeded", "task-failed"}
while sum(e["type"] in ended for e in events) < COUNT:
    if time.monotonic() > deadline + 60:
        sys.exit(f"receiver.py: {collections.Counter(e['type'] for e in events)}")
    time.sleep(0.05)

workers = [w for w in state.workers.values() if w.alive]
check(len(workers) == 1 and workers[0].hostname.startswith("ours@"), "alive:", workers)
check(workers[0].sw_ident == "evently-workers" and len(workers[0].loadavg) == 3, "worker:", vars(workers[0]) if hasattr(workers[0], "__dict__") else workers[0])
check(len(state.tasks) == COUNT, len(state.tasks), "tasks are known, not", COUNT)
states = collections.Counter(t.state for t in state.tasks.values())
check(states == {"SUCCESS": COUNT - COUNT // 10, "FAILURE": COUNT // 10}, "states:", states)
clocks = [e["clock"] for e in events if e["hostname"].startswith("ours@")]
check(clocks == sorted(set(clocks)), "clocks do not rise")
story = collections.defaultdict(list)
for e in events:
    if e["type"].startswith("task-") and e["type"] != "task-sent":
        story[e["uuid"]].append(e)
for i, task_id in enumerate(sent):
    task = state.tasks.get(task_id)
    if task is None:
        problems.append(f"{task_id} is not known")
        continue
    want = ["task-received", "task-started", "task-failed" if i % 10 == 0 else "task-succeeded"]
    check([e["type"] for e in story[task_id]] == want, task_id, [e["type"] for e in story[task_id]])
    check(task.name == "e2e.add" and task.worker.hostname.startswith("ours@"), task_id, task.name)
    check(task.received and task.started and task.received <= task.started, task_id, "times")
    if i % 10:
        check(task.result == str(i + 1) and task.runtime is not None, task_id, task.result, task.runtime)
    else:
        check(task.exception.startswith("TypeError("), task_id, task.exception)
if problems:
    sys.exit("receiver.py:\n" + "\n".join(problems[:20]))
batches = len(events)
print(f"{COUNT} tasks, {batches} events, {states}")
