"""Sends many tasks by real Celery: URL QUEUE COUNT TASK ARGS-AS-JSON OPTIONS-AS-JSON.

"%d" as an argument stands for the number of the task, from 0. Prints the ids.
"""
import json
import sys

from celery import Celery


def main():
    url, queue, count, task, args, options = sys.argv[1:]
    app = Celery("flood", broker=url, backend=url)
    args, options = json.loads(args), json.loads(options)
    with app.producer_or_acquire() as producer:
        for number in range(int(count)):
            arguments = [number if a == "%d" else a for a in args]
            # No result is awaited, and so none subscribed to: that is the bulk
            # of the work of sending.
            result = app.send_task(task, args=arguments, queue=queue, producer=producer, ignore_result=False, **options)
            print(result.id)


if __name__ == "__main__":
    main()
