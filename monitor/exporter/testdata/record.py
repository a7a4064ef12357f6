"""Records what the real celery-exporter makes of events: events.json and metrics.txt.

    git clone https://github.com/danihodovic/celery-exporter && git -C celery-exporter checkout 95e8e49
    TZ=UTC PYTHONPATH=celery-exporter python record.py

It needs an environment with the requirements of celery-exporter.
"""
import json
import pathlib
import random
import time

from celery import Celery
from prometheus_client import generate_latest
from src import exporter as module

BEGIN = 1_800_000_000.0
END = BEGIN + 1000
random.seed(7)
here = pathlib.Path(__file__).parent


def generate():
    hosts = ["celery@alpha", "w1@beta", "nohost", "mail@gamma"]
    names = ["tasks.send_mail", "tasks.häßlich\n\"x\\", "tasks.slow"]
    exceptions = ["ValueError('x')", "SMTPError(550)", "weird", "Größe()", "(", "a.B()", ""]
    at = BEGIN
    for n, host in enumerate(hosts):
        yield dict(type="worker-online", hostname=host, timestamp=at + n, freq=2.0, pid=n)
    tasks = [f"task-{n}" for n in range(40)]
    for n in range(600):
        at += 0.77
        uuid = random.choice(tasks)
        # A task belongs to a host, mostly.
        host = hosts[hash_of(uuid) % 4] if random.random() < 0.9 else random.choice(hosts)
        kind = random.choice(["sent", "received", "started", "succeeded", "failed", "retried", "rejected", "revoked"])
        e = dict(type=f"task-{kind}", hostname=host, uuid=uuid, timestamp=round(at, 3))
        if kind in ("sent", "received"):
            e.update(name=names[hash_of(uuid) % 3], args="()", kwargs="{}", retries=0, eta=None, expires=None,
                     root_id=uuid, parent_id=None)
            if random.random() < 0.2:
                e["eta"] = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at + random.randint(-30, 30))) + "+00:00"
        if kind == "sent":
            e.update(hostname=f"gen{n % 3}@web", queue=random.choice(["mail", "celery"]), exchange="", routing_key="mail")
        if kind == "succeeded":
            e.update(result="None", runtime=random.choice([0.001, 0.005, 0.3, 1.0, 1.5, 12.25, 3600]))
        if kind in ("failed", "retried"):
            e.update(exception=random.choice(exceptions), traceback="Traceback")
        yield {name: value for name, value in e.items() if value is not None or random.random() < 0.7}
        if n % 20 == 0 and host != "nohost" or n == 10:
            yield dict(type="worker-heartbeat", hostname=host, timestamp=round(at, 3), freq=2.0, active=n % 5,
                       processed=n, pid=1, loadavg=[0, 0, 0], sw_ident="py-celery", sw_ver="5", sw_sys="Linux")
    yield dict(type="worker-offline", hostname="mail@gamma", timestamp=round(at, 3))
    yield dict(type="worker-heartbeat", hostname="celery@alpha", timestamp=END - 2, freq=2.0, active=3)


def hash_of(text):
    return sum(text.encode())


events = [dict(e, clock=n + 1, utcoffset=0) for n, e in enumerate(generate())]
(here / "events.json").write_text("[\n" + ",\n".join(json.dumps(e) for e in events) + "\n]\n")

exporter = module.Exporter()
exporter.state = Celery().events.State()
for e in events:
    e = dict(e, local_received=time.time())
    if e["type"] == "worker-heartbeat":
        exporter.track_worker_heartbeat(e)
    elif e["type"].startswith("worker-"):
        exporter.track_worker_status(e, e["type"] == "worker-online")
    else:
        exporter.track_task_event(e)
module.time = type("clock", (), {"time": staticmethod(lambda: END)})
exporter.track_timed_out_workers()
lines = generate_latest(exporter.registry).decode().splitlines(keepends=True)
(here / "metrics.txt").write_text("".join(line for line in lines if "_created" not in line))
