"""An Evently producer: sends tasks by real Celery and waits for their results.

Reads from standard input {"broker": URL, "timeout": seconds, "calls": [call, …]},
where a call has

    label    name for the answer
    via      delay, apply_async or send_task
    task     name of the task; delay and apply_async need a long one
    args, kwargs
    options  of apply_async or send_task; "eta_in" and "expires_in" (seconds,
             negative: in the past) become datetimes

and prints one JSON object for each call: label, id, state, value or error.
"""
import datetime
import json
import sys

from celery import Celery

PREFIX = "email_workers.tasks."
QUEUE = "email_notifications"


def application(url, names):
    """The application of the platform's services, with its settings and tasks."""
    app = Celery("email_workers", broker=url, backend=url)
    app.conf.update(
        task_serializer="json", accept_content=["json"], result_serializer="json",
        timezone="UTC", enable_utc=True,
        task_track_started=True, result_expires=3600, task_acks_late=True,
        worker_prefetch_multiplier=1, task_time_limit=300, task_soft_time_limit=240,
        task_routes={PREFIX + "*": {"queue": QUEUE}},
    )
    for name in names:
        app.task(stub(), name=name)
    return app


def stub():
    """A task that is only called by name: its body runs in the worker."""
    def task(*args, **kwargs):
        raise NotImplementedError
    return task


def send(app, call):
    args, kwargs = call.get("args") or [], call.get("kwargs") or {}
    options = dict(call.get("options") or {})
    now = datetime.datetime.now(datetime.timezone.utc)
    for name in "eta", "expires":
        if name + "_in" in options:
            options[name] = now + datetime.timedelta(seconds=options.pop(name + "_in"))
    if call["via"] == "delay":
        return app.tasks[call["task"]].delay(*args, **kwargs)
    if call["via"] == "apply_async":
        return app.tasks[call["task"]].apply_async(args=args, kwargs=kwargs, **options)
    return app.send_task(call["task"], args=args, kwargs=kwargs, queue=QUEUE, **options)


def main():
    plan = json.load(sys.stdin)
    app = application(plan["broker"], {call["task"] for call in plan["calls"] if call["via"] != "send_task"})
    sent = [(call, send(app, call)) for call in plan["calls"]]
    for call, result in sent:
        answer = {"label": call["label"], "id": result.id}
        # get() of Celery 5.2 always waits for a second first, even when the result
        # is known: ready() spares that for results that are there already.
        result.ready()
        try:
            answer["value"] = result.get(timeout=plan["timeout"])
        except Exception as error:  # get() raises what the task raised
            answer["error"] = type(error).__name__
            answer["message"] = str(error)
        answer["state"] = result.state
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
