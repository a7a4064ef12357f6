"""Holds an election among the Python workers: election.py URL QUEUE NODE...

The one that wins publishes a task. Ends with an error when none wins.

It first waits for two heartbeats of each named node. A Python worker that has not heard of
the others counts too few answers, and fails in kombu.clocks.
"""
import json
import sys
import uuid
from collections import Counter

from celery import Celery
from redis import Redis

URL, QUEUE, *NODES = sys.argv[1:]

events = Redis.from_url(URL, socket_timeout=30).pubsub()
events.psubscribe("/*.celeryev/worker.heartbeat")
heard = Counter()
while any(heard[node] < 2 for node in NODES):
    message = events.get_message(ignore_subscribe_messages=True, timeout=30)
    if message:
        host = json.loads(message["data"])["headers"]["hostname"]
        heard[host.partition("@")[0]] += 1

app = Celery("peer", broker=URL, backend=URL)
app.conf.accept_content = ["json"]
task_id = str(uuid.uuid4())
signature = app.signature("e2e.add", args=(20, 22), options={"task_id": task_id, "queue": QUEUE})
app.control.election(str(uuid.uuid4()), "task", signature)
print("elected, and its task returned", app.AsyncResult(task_id).get(timeout=30))
