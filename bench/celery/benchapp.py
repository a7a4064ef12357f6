"""Celery's side of the benchmark: the task that both workers offer.

BROKER   URL of Redis, broker and result backend
"""
import os

from celery import Celery

app = Celery("bench", broker=os.environ["BROKER"], backend=os.environ["BROKER"])
app.conf.update(
    accept_content=["json"], task_default_queue="bench", result_expires=3600,
    # As a worker is set up that must not lose mails, and ours is by default.
    task_acks_late=True, worker_prefetch_multiplier=int(os.environ.get("PREFETCH", "1")),
)


@app.task(name="bench.noop")
def noop():
    return None
