"""A Python worker beside ours: python peer.py URL QUEUE NAME VISIBILITY-TIMEOUT.

Has the same tasks as the worker made for tests, and notes their runs in the same
place. PEER_POOL chooses the pool, "prefork" unless set; PEER_CONCURRENCY and
PEER_PREFETCH change the size of it and the prefetch multiplier, PEER_MASTER names
the master that Sentinels watch, NOTES_URL the Redis for the notes.
"""
import os
import signal
import sys
import time

import redis
from celery import Celery
from celery.exceptions import Reject

URL, QUEUE, NAME, VISIBILITY_TIMEOUT = sys.argv[1:]

app = Celery("peer", broker=URL, backend=URL)
app.conf.update(
    accept_content=["json"], task_acks_late=True, task_reject_on_worker_lost=True, task_track_started=True,
    worker_prefetch_multiplier=int(os.environ.get("PEER_PREFETCH", 1)),
    worker_concurrency=int(os.environ.get("PEER_CONCURRENCY", 2)), result_expires=3600,
    broker_transport_options={"visibility_timeout": float(VISIBILITY_TIMEOUT)},
    broker_connection_retry_on_startup=True,
)
if os.environ.get("PEER_MASTER"):
    app.conf.broker_transport_options["master_name"] = os.environ["PEER_MASTER"]
    app.conf.result_backend_transport_options = {"master_name": os.environ["PEER_MASTER"]}
notes = redis.Redis.from_url(os.environ.get("NOTES_URL") or URL)


def note(task):
    with notes.pipeline() as p:
        p.rpush("e2e:order", task.request.id)
        p.hincrby("e2e:ran", task.request.id, 1)
        p.hincrby("e2e:by", "python", 1)
        p.hset("e2e:at", task.request.id, int(time.time() * 1000))
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


@app.task(name="e2e.mail", bind=True)
def mail(self, seconds, number):
    notes.hincrby("e2e:begun", self.request.id, 1)
    time.sleep(seconds)
    notes.hincrby("e2e:sent", self.request.id, 1)
    note(self)
    return number


@app.task(name="e2e.crash", bind=True)
def crash(self):
    notes.hincrby("e2e:begun", self.request.id, 1)
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(name="e2e.stuck")
def stuck(seconds, number):
    time.sleep(seconds)
    return number


@app.task(name="e2e.fail", bind=True)
def fail(self, seconds, number):
    raise RuntimeError("as was asked for")


@app.task(name="e2e.retry", bind=True)
def retry(self, seconds, number):
    notes.hincrby("e2e:begun", self.request.id, 1)
    if self.request.retries < 2:
        raise self.retry(countdown=0.1)
    note(self)
    return number


@app.task(name="e2e.secret", bind=True)
def secret(self, mode, otp, user):
    text = "cannot log in {email} with {otp}, {password} and {token}".format(otp=otp, **user)
    if mode in ("fail", "raise", "panic"):
        raise RuntimeError(text)
    if mode in ("retry", "again") and self.request.retries < 2:
        raise self.retry(exc=RuntimeError(text), countdown=0.1)
    if mode == "reject":
        raise Reject(text, requeue=False)
    time.sleep(0.3)
    note(self)
    return {"success": True}


@app.task(name="e2e.only_python", bind=True)
def only_python(self, number):
    note(self)
    return number


if __name__ == "__main__":
    app.worker_main(["worker", "--queues", QUEUE, "--hostname", NAME + "@%h", "--loglevel", "info",
                     "--pool", os.environ.get("PEER_POOL", "prefork")])
