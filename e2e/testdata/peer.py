"""A Python worker beside ours: python peer.py URL QUEUE NAME VISIBILITY-TIMEOUT.

Has the same tasks as the worker made for tests, and notes their runs in the same
place. PEER_POOL chooses the pool, "prefork" unless set.
"""
import os
import sys
import time

import redis
from celery import Celery

URL, QUEUE, NAME, VISIBILITY_TIMEOUT = sys.argv[1:]

app = Celery("peer", broker=URL, backend=URL)
app.conf.update(
    accept_content=["json"], task_acks_late=True, task_reject_on_worker_lost=True, task_track_started=True,
    worker_prefetch_multiplier=1, worker_concurrency=2, result_expires=3600,
    broker_transport_options={"visibility_timeout": float(VISIBILITY_TIMEOUT)},
    broker_connection_retry_on_startup=True,
)
notes = redis.Redis.from_url(URL)


def note(task):
    with notes.pipeline() as p:
        p.rpush("e2e:order", task.request.id)
        p.hincrby("e2e:ran", task.request.id, 1)
        p.hincrby("e2e:by", "python", 1)
        if task.request.delivery_info.get("redelivered"):
            p.hincrby("e2e:redelivered", task.request.id, 1)
        p.execute()


@app.task(name="e2e.work", bind=True)
def work(self, seconds, number):
    time.sleep(seconds)
    note(self)
    return number


@app.task(name="e2e.add", bind=True)
def add(self, x, y):
    note(self)
    return x + y


@app.task(name="e2e.sum", bind=True)
def sum_up(self, numbers):
    time.sleep(0.02)  # long enough for a kill to hit some of them
    notes.sadd("e2e:tags:" + self.request.id, self.request.properties["delivery_tag"])
    note(self)
    return sum(numbers)


@app.task(name="e2e.only_python", bind=True)
def only_python(self, number):
    note(self)
    return number


if __name__ == "__main__":
    app.worker_main(["worker", "--queues", QUEUE, "--hostname", NAME + "@%h", "--loglevel", "info",
                     "--pool", os.environ.get("PEER_POOL", "prefork")])
