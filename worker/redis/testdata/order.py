"""Takes messages from several queues as a Python worker does, one at a time, and
prints the queue and the id of each.

    order.py URL STRATEGY COUNT QUEUE...
"""

import socket
import sys

from kombu import Connection, Consumer, Queue

url, strategy, count, names = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:]
taken = []


def take(message):
    message.ack()
    taken.append((message.delivery_info["routing_key"], message.headers["id"]))


with Connection(url, transport_options={"queue_order_strategy": strategy}) as connection:
    channel = connection.default_channel
    channel.qos.prefetch_count = 1
    with Consumer(channel, [Queue(n) for n in names], on_message=take, accept=["json"]):
        while len(taken) < count:
            try:
                connection.drain_events(timeout=5)
            except socket.timeout:
                sys.exit("only %d messages came" % len(taken))
for queue, task_id in taken:
    print(queue, task_id)
