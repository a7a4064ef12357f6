"""Sends one task with a trace, as a traced Python service does, and prints its id
when it has a result.

    producer.py URL QUEUE TASK TRACEPARENT TRACESTATE BAGGAGE
"""

import sys

from celery import Celery

url, queue, task, parent, state, baggage = sys.argv[1:]
app = Celery(broker=url, backend=url)
result = app.send_task(task, queue=queue, headers={"traceparent": parent, "tracestate": state, "baggage": baggage})
result.get(timeout=60)
print(result.id)
