"""The platform's services: publish events by redis-py, and send tasks by real Celery.

Reads from standard input {"broker": URL, "events": URL, "timeout": seconds, "steps": [step, ...]},
where a step is {"do": "event" or "task", "channel": its name, "n": the number of the booking,
waitlist entry and user, "pause": seconds after it}. An event has a key "with" for an amount
that is special: "nan" or "text". Prints one JSON object for each task: its step, state
and value.
"""
import datetime
import json
import sys
import time

import redis

from producer import PREFIX, application

TASKS = {
    "bookings:confirmed": PREFIX + "send_booking_confirmation",
    "bookings:cancelled": PREFIX + "send_booking_cancellation",
    "bookings:waitlist_joined": PREFIX + "send_waitlist_joined",
    "bookings:waitlist_cancelled": PREFIX + "send_waitlist_cancellation",
}
TYPES = {
    "bookings:confirmed": "BookingConfirmed",
    "bookings:cancelled": "BookingCancelled",
    "bookings:waitlist_joined": "WaitlistJoined",
    "bookings:waitlist_cancelled": "WaitlistCancelled",
}
EVENT = 5


def now():
    return datetime.datetime.now(datetime.timezone.utc).isoformat()


def booking(n, channel, amount):
    data = {
        "id": n, "event_id": EVENT, "user_id": n, "booking_reference": f"BK-{n}", "quantity": 2,
        "total_amount": amount, "currency": "EUR", "status": channel.split(":")[1],
        "payment_status": "completed", "created_at": now(), "expires_at": None,
    }
    if channel == "bookings:confirmed":
        data["confirmed_at"] = now()
    else:
        data.update(cancelled_at=now(), cancellation_reason="Rain is forecast")
    return {"type": TYPES[channel], "booking_id": n, "event_id": EVENT, "user_id": n, "booking_data": data}


def waitlist(n, channel):
    data = {
        "id": n, "event_id": EVENT, "user_id": n, "quantity": 1, "priority": 7,
        "status": "waiting", "joined_at": now(), "created_at": now(),
    }
    if channel == "bookings:waitlist_cancelled":
        data.update(cancelled_at=now(), updated_at=now())
    return {"type": TYPES[channel], "waitlist_entry_id": n, "event_id": EVENT, "user_id": n, "waitlist_data": data}


def event(step):
    n, channel = step["n"], step["channel"]
    if channel.startswith("bookings:waitlist"):
        return waitlist(n, channel)
    return booking(n, channel, {"nan": float("nan"), "text": "59.90"}.get(step.get("with"), 59.9))


def arguments(step):
    n, channel = step["n"], step["channel"]
    data = {"event_name": "Nordic Jazz Night"}
    if channel == "bookings:confirmed":
        data.update(booking_id=n, quantity=2, total_price=59.9, booking_date=now())
    elif channel == "bookings:cancelled":
        data.update(booking_id=n, refund_amount=59.9, reason="Rain is forecast", cancellation_date=now())
    elif channel == "bookings:waitlist_joined":
        data.update(waitlist_id=n, position=3, joined_date=now())
    else:
        data.update(waitlist_id=n, cancellation_date=now())
    return n, data


def main():
    plan = json.load(sys.stdin)
    app = application(plan["broker"], TASKS.values())
    bus = redis.Redis.from_url(plan["events"])
    bus.publish("evently:events:created", json.dumps({
        "type": "EventCreated", "event_id": EVENT, "event_data": {
            "id": EVENT, "name": "Nordic Jazz Night", "title": "x", "category": "music", "capacity": 80, "price": 29.95,
            "status": "published", "event_date": now(), "created_at": now(),
        }}))
    sent = []
    for step in plan["steps"]:
        if step["do"] == "event":
            heard = bus.publish("evently:" + step["channel"], json.dumps(event(step)))
            assert heard > 0, "no worker listens"
        else:
            sent.append((step, app.tasks[TASKS[step["channel"]]].delay(*arguments(step))))
        time.sleep(step.get("pause", 0))
    for step, result in sent:
        result.ready()
        answer = {"step": step}
        try:
            answer["value"] = result.get(timeout=plan["timeout"])
        except Exception as error:  # get() raises what the task raised
            answer["error"] = repr(error)
        answer["state"] = result.state
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
