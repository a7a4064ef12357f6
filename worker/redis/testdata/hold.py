"""Runs a Celery worker that notes which tasks it has run, in order: hold.py URL."""
import sys

import celery
import redis

url = sys.argv[1]
app = celery.Celery("hold", broker=url, backend=url)
app.conf.update(task_default_queue="q", worker_prefetch_multiplier=1, task_acks_late=True)
server = redis.Redis.from_url(url)


@app.task(name="mail", bind=True)
def mail(self, *args):
    server.rpush("ran", self.request.id)


@app.task(name="health", bind=True)
def health(self, *args):
    server.rpush("ran", self.request.id)


app.worker_main(["worker", "--pool=solo", "--queues=q", "--loglevel=ERROR", "--without-gossip", "--without-mingle", "--without-heartbeat"])
