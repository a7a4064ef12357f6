"""Celery's side of the benchmark: the task that all workers offer.

BROKER   URL of Redis, broker and result backend
PROFILE  default   Celery's own settings: acknowledged when taken, prefetch multiplier 4
         service   as a worker is set up that must not lose mails, and shows what runs:
                   acknowledged when done, prefetch multiplier 1, STARTED is stored, time limits
"""
import os

from celery import Celery

app = Celery("bench", broker=os.environ["BROKER"], backend=os.environ["BROKER"])
app.conf.update(accept_content=["json"], task_default_queue="bench", result_expires=3600)
if os.environ["PROFILE"] == "service":
    app.conf.update(
        task_acks_late=True, worker_prefetch_multiplier=1,
        task_track_started=True, task_time_limit=300, task_soft_time_limit=240,
    )


@app.task(name="bench.noop")
def noop(*args):
    return None
