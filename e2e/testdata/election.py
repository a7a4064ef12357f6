"""Holds an election among the Python workers: election.py URL QUEUE.

The one that wins publishes a task. Ends with an error when none wins.
"""
import sys
import uuid

from celery import Celery

URL, QUEUE = sys.argv[1:]

app = Celery("peer", broker=URL, backend=URL)
app.conf.accept_content = ["json"]
task_id = str(uuid.uuid4())
signature = app.signature("e2e.add", args=(20, 22), options={"task_id": task_id, "queue": QUEUE})
app.control.election(str(uuid.uuid4()), "task", signature)
print("elected, and its task returned", app.AsyncResult(task_id).get(timeout=30))
