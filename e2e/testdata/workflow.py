"""Sends workflows by real Celery and prints what get() returns or raises, one JSON
object a line: URL QUEUE MEMBERS BYTES NAME...

"chain" is a chain of three chords of MEMBERS tasks each. "chord" has a member with
an argument of BYTES bytes, "task" is such a task alone, "link" has an error callback,
whose own result is "callback". Waits for those that are named.
"""
import json
import sys
import time

from celery import Celery, chain, chord


def main():
    url, queue, members, size, *names = sys.argv[1:]
    app = Celery("workflows", broker=url, backend=url)
    app.set_current()

    def add(x, y):
        return app.signature("e2e.add", args=(x, y), immutable=True, queue=queue)

    def body():
        return app.signature("e2e.sum", queue=queue)

    large = app.signature("e2e.work", args=(0, 1, "x" * int(size)), queue=queue)
    called_back = add(20, 22)
    called_back.freeze()
    workflows = {
        "chain": chain(*(chord([add(1, i) for i in range(int(members))], body()) for _ in range(3))),
        "chord": chord([add(1, 1), large.clone()], body()),
        "task": large.clone(),
        "link": large.clone().on_error(called_back),
    }
    sent = {name: w.apply_async() for name, w in workflows.items()}
    sent["callback"] = app.AsyncResult(called_back.id)
    for name in names:
        began = time.monotonic()
        answer = {"name": name}
        try:
            answer["value"] = sent[name].get(timeout=60)
        except Exception as exc:
            answer.update(error=type(exc).__name__, message=str(exc)[:2000])
        answer["seconds"] = time.monotonic() - began
        print(json.dumps(answer))


if __name__ == "__main__":
    main()
