"""Runs the same workflows on a Python worker and on ours, and compares what is stored.

  flows.py worker URL              the Python worker
  flows.py send URL SEED RANDOM FIRST COPIES [NUMBER...]
                                   a producer: the named workflows and so many random
                                   ones, or those with the numbers given
  flows.py compare URL URL SEED RANDOM
                                   sends to both, waits for the end, and prints each
                                   difference as a line of JSON

Ids that a producer gives are the same on both sides. Ids that a worker gives are told
apart by their place among the children and the arguments of the same task.
"""
import json
import os
import random
import re
import subprocess
import sys
import time
import uuid
from collections import defaultdict

import redis
from celery import Celery, chain, chord, group
from celery.exceptions import Ignore, Reject
from kombu.utils.uuid import uuid as make_uuid

QUEUE = "email_notifications"
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
OWN = re.compile(r"\b([0-9a-f]{3})([0-9a-f]{5})-f10f-")  # an id of a producer: copy and workflow
UNKNOWN = -1  # the workflow of what names no id of a producer
TURNS, COPIES = 3, 12  # how often a workflow that differs is sent again

app = Celery("flow", broker=sys.argv[2], backend=sys.argv[2])
app.conf.update(
    accept_content=["json"], result_extended=True, task_acks_late=True, task_track_started=True,
    worker_concurrency=1, worker_prefetch_multiplier=1, result_expires=3600, task_default_queue=QUEUE,
    broker_connection_retry_on_startup=True,
)
sys.modules["flow"] = sys.modules["__main__"]  # the pool of processes looks for Custom there


class Custom(Exception):
    pass


Custom.__module__ = "flow"


def task(function, **options):
    return app.task(name="flow." + function.__name__, **options)(function)


def raises(name, make):
    def function(*args, **kwargs):
        raise make()
    function.__name__ = name
    return task(function)


def again(name, retries, countdown, cause=None):
    def function(self, *args, **kwargs):
        raise self.retry(exc=cause, countdown=countdown)
    function.__name__ = name
    return task(function, bind=True, max_retries=retries)


def replaces(name, by):
    def function(self, x):
        raise self.replace(by())
    function.__name__ = name
    return task(function, bind=True)


@task
def ident(x):
    return x


@task
def add(x, y=1):
    if not isinstance(x, int) or not isinstance(y, int):
        raise TypeError("not two numbers")
    return x + y


@task
def const(*args, **kwargs):
    return 7


@task
def total(xs):
    if isinstance(xs, list):
        return sum(total(x) for x in xs)
    return xs if isinstance(xs, int) else 1


@task
def sleep(seconds):
    time.sleep(seconds)
    return seconds


@task
def old(task_id):
    tell("old", task_id)
    return 1


@task
def new(request, exc, traceback):
    tell("new", request.id, type(exc).__name__, list(exc.args), traceback is not None)


def retry_once(self, *args, **kwargs):
    if self.request.retries:
        return 3
    raise self.retry(countdown=0)


def send(self, x=None):
    add.si(1, 2).apply_async()
    return x


def send_fail(self, x=None):
    add.si(1, 2).apply_async()
    raise ValueError("after")


retry_once, send, send_fail = task(retry_once, bind=True), task(send, bind=True), task(send_fail, bind=True)
fail = raises("fail", lambda: ValueError("no"))
fail_key = raises("fail_key", lambda: KeyError("k'ey"))
fail_args = raises("fail_args", lambda: Custom("a", 1, None, [1.5, {"k": "v"}], True))
fail_bare = raises("fail_bare", Custom)
reject = raises("reject", lambda: Reject("no thanks", requeue=False))
ignore = raises("ignore", Ignore)
retry = again("retry", 2, 0)
retry_exc = again("retry_exc", 1, 0.1, ValueError("again"))
retry_later = again("retry_later", 3, 3600, ValueError("later"))
retry_bare = again("retry_bare", 3, 3600)
replace = replaces("replace", lambda: add.si(1, 2))
replace_group = replaces("replace_group", lambda: group(add.si(1, 2), add.si(1, 2)))
replace_fail = replaces("replace_fail", lambda: chain(add.si(1, 2), fail.s()))
replace_empty = replaces("replace_empty", lambda: chain())


def tell(*what):
    redis.Redis.from_url(app.conf.broker_url).rpush("flow:told", json.dumps(what))


def failing():
    """Signatures that fail, or end in another way than with a result."""
    for t in (fail, fail_key, fail_args, fail_bare, reject, ignore, retry):
        yield t.name, t.si()
    yield "arguments", retry.si(1, [2], a="b")
    yield "type", add.si(1, "x")
    yield "replaced by failure", replace_fail.si(1)
    yield "replaced by nothing", replace_empty.si(1)
    yield "sent before", send_fail.si()
    yield "expired", ident.si(1).set(expires=-5)


def named():
    yield "hard limit", chain(sleep.si(9).set(time_limit=1, link_error=[old.s(), new.s()]), add.s(2))
    yield "hard limit in header", chord([sleep.si(9).set(time_limit=1), ident.s(1)], total.s().on_error(new.s()))
    yield "soft limit", chain(sleep.si(9).set(soft_time_limit=1, link_error=[old.s(), new.s()]), add.s(2))
    yield "soft limit in header", chord([sleep.si(9).set(soft_time_limit=1), ident.s(1)], group(const.s(), const.s()))
    for s in (ident.s(5), retry_once.s(), replace.si(1), replace_group.si(1), send.si(1), retry_later.si(), retry_bare.si()):
        yield s.task, s.set(link=const.s("cb"), link_error=[old.s(), new.s()])
    for n, s in [*failing(), (retry_exc.name, retry_exc.si())]:  # not in random ones, whose order must not depend on time
        yield n, s.clone().set(link=const.s(), link_error=[old.s(), new.s()])
        yield n + ", chain", chain(s.clone(), add.s(2), ident.s().set(link_error=old.s()))
        yield n + ", second in chain", chain(ident.s(4), s.clone(), const.s("x", a=1), group(add.s(1), add.s(2)), total.s())
        yield n + ", group", group(s.clone(), ident.s(3))
        yield n + ", header", chord([s.clone(), ident.s(3)], total.s().on_error(old.s()).on_error(new.s()))
        yield n + ", header in chain", chain(group(s.clone(), ident.s(3)), total.s(), add.s(5))
        yield n + ", body is a group", chord([s.clone(), ident.s(3)], group(const.s(1).on_error(new.s()), const.s(2)))
        yield n + ", body is a chain", chord([s.clone(), ident.s(3)], chain(total.s(), add.s(1)))
        yield n + ", body is a chord", chord([s.clone(), ident.s(3)], chord([const.s(1), const.s(2)], total.s()))
        yield n + ", body", chain(chord([ident.s(1), ident.s(3)], s.clone()), add.s(1))
        yield n + ", header in header", chord([chord([s.clone(), ident.s(3)], total.s()), ident.s(1)], total.s())
        yield n + ", group in header", chord([group(s.clone(), ident.s(3)), ident.s(1)], total.s().on_error(new.s()))
        yield n + ", chain in header", chord([chain(ident.s(2), s.clone(), add.s(1)), ident.s(1)], total.s())
        yield n + ", link", ident.s(1).set(link=[s.clone(), const.s()])
    def grouped(*members):
        return chord([const.si()], group(members))  # its result stays a group in the header of a chord
    yield "one before a group, joined", chord([fail.si(), grouped(fail_key.si(), const.si())], group(const.s(1).on_error(new.s()), const.s(2)))
    yield "four deep, joined", chord([fail.si(), grouped(const.si(), grouped(fail.si(), grouped(fail_key.si(), grouped(fail_bare.si()))))], total.s())
    yield "a chord, joined", chord([chain(chord([fail.si()], const.s()), const.s()), grouped(const.si())], total.s())
    parts = [(1, 2), (3, 4), (5, 6)]
    yield "map", fail.map([1, 2])
    yield "starmap", add.starmap(parts) | total.s()
    yield "chunks", add.chunks(parts, 2)
    yield "chunks first", chain(add.chunks(parts, 2), total.s(), add.s(1))
    yield "chunks last", chain(ident.s(1), add.chunks(parts, 2))
    yield "chunks between", chain(ident.s(1), add.chunks(parts, 2), total.s())
    yield "chunks, immutable", chain(ident.s(1), add.chunks(parts, 2), add.si(1, 2))
    yield "chunks as a callback", ident.s(1).set(link=add.chunks(parts, 2))
    yield "chunks in a header", chord([add.chunks(parts, 2), ident.s(1)], total.s())
    yield "chunks as a body", chord([ident.s(1), ident.s(1)], add.chunks(parts, 2))
    yield "chunks as a group", chain(add.chunks(parts, 2).group(), total.s())


def anything(rnd, depth=0):
    """A random workflow that takes one argument."""
    kind = rnd.random()
    if depth >= 3 or kind < 0.45:
        s = rnd.choice([ident.s(), add.s(), add.s(1), const.s(), const.si(2, a="b"), total.s(), send.s(), replace.s(),
                        replace_group.s(), retry_once.s(), ident.map([1, 2]), add.s("x"),
                        rnd.choice(list(failing()))[1]]).clone()
        if rnd.random() < 0.15:
            s.on_error(rnd.choice([old.s(), new.s()]))
        if rnd.random() < 0.15:
            s.link(rnd.choice([const.s(), add.si(1, 1), fail.si(), ident.s()]))
        return s
    if kind < 0.65:
        return chain(*[anything(rnd, depth + 1) for _ in range(rnd.randrange(2, 4))])
    members = [anything(rnd, depth + 1) for _ in range(rnd.randrange(1, 4))]
    if kind < 0.8:
        return group(members)
    return chord(members, anything(rnd, depth + 1))


def workflows(seed, count):
    """The named workflows and so many random ones: name, signature, arguments."""
    for name, flow in named():
        yield name, flow, ()
    for i in range(count):
        yield f"random {i}", anything(random.Random(seed * 100_000 + i)), (3,)


def produce(seed, count, first, copies, *only):
    """Sends copies of all workflows, or of those with the numbers given."""
    for copy in range(first, first + copies):
        for number, (_, flow, args) in enumerate(workflows(seed, count)):
            if only and number not in only:
                continue
            ids = random.Random(number)
            make_uuid.__defaults__ = (lambda: f"{copy:03x}{number:05x}-f10f" + str(uuid.UUID(int=ids.getrandbits(128), version=4))[13:],)
            flow.apply_async(args)


# --- comparison --------------------------------------------------------------

def await_end(sides, seconds):
    """Waits until nothing moves any more; retries in an hour are held for good."""
    seen, since, end = None, time.time(), time.time() + seconds
    while time.time() - since < 2:
        if time.time() > end:
            sys.exit(f"still at work: {seen}")
        now, moving = [r.dbsize() for r in sides], 0
        for r in sides:
            held = [json.loads(e)[0]["headers"] for e in r.hvals("unacked")]
            moving += r.llen(QUEUE) + sum(h["task"] not in (retry_later.name, retry_bare.name) or not h["eta"] for h in held)
        if moving or now != seen:
            seen, since = now, time.time()
        time.sleep(0.1)


class Answer:
    """What is stored of one copy of a workflow."""
    def __init__(self):
        self.results, self.told = {}, []


def answers(r):
    """The answers of one side, by the number of the workflow and of the copy."""
    prefix, owner = "celery-task-meta-", {}
    texts = {k.decode()[len(prefix):]: re.sub(r'"reply_to": "[^"]*"', '"reply_to": ""', r.get(k).decode())
             for k in r.scan_iter(prefix + "*", count=1000)}
    linked = {i: {i, *UUID.findall(t)} for i, t in texts.items()}
    for ids in list(linked.values()):
        for i in ids:
            linked.setdefault(i, set()).update(ids)
    todo = [i for i in linked if OWN.match(i)]
    owner = {i: tuple(int(n, 16) for n in OWN.match(i).groups()) for i in todo}
    while todo:
        i = todo.pop()
        for j in linked[i]:
            if j not in owner:
                owner[j] = owner[i]
                todo.append(j)
    found = defaultdict(lambda: defaultdict(Answer))

    def answer(i):
        copy, number = owner.get(i, (0, UNKNOWN))
        return found[number][copy]
    for i, text in texts.items():
        answer(i).results[OWN.sub(r"000\2-f10f-", i)] = json.loads(OWN.sub(r"000\2-f10f-", text))
    for text in r.lrange("flow:told", 0, -1):
        answer(json.loads(text)[1]).told.append(OWN.sub(r"000\2-f10f-", text.decode()))
    return found


def pairs(theirs, ours):
    """The ids that our worker gave, with those of the Python worker in the same place."""
    same, todo = {}, sorted(set(theirs) & set(ours))
    back = {}
    while todo:
        i = todo.pop(0)
        p, o = theirs[i], ours[back.get(i, i)]
        found = []
        for field in ("children", "args", "kwargs"):  # a signature that never runs has its id in arguments only
            found += zip(*(UUID.findall(json.dumps(meta.get(field), sort_keys=True)) for meta in (p, o)))
        found += [(p.get(f), o.get(f)) for f in ("parent_id", "group_id") if p.get(f) and o.get(f)]
        for x, y in found:
            if x != y and y not in same and y not in theirs and x not in back:
                same[y], back[x] = x, y
                if x in theirs and y in ours:
                    todo.append(x)
    return same


def clean(meta, ids):
    text = UUID.sub(lambda m: ids.get(m.group(), m.group()), json.dumps(meta))
    meta = json.loads(re.sub(r'"reply_to": "[^"]*"', '"reply_to": ""', text))
    if meta["traceback"] is not None:
        lines = meta["traceback"].strip().split("\n")
        form = "Traceback (most recent call last):" in lines and any(line.startswith("  File ") for line in lines)
        # The cause of an EncodeError is shown with its type here.
        meta["traceback"] = [form, re.sub(r"EncodeError: TypeError\('(.*)'\)$", r"EncodeError: \1", lines[-1])]
    if meta["date_done"]:
        meta["date_done"] = re.sub(r"[0-9]", "0", re.sub(r"\.[0-9]+", "", meta["date_done"]))
    if meta.get("worker"):
        meta["worker"] = "some"
    if meta["status"] == "STARTED":
        meta["result"] = sorted(meta["result"])
    return meta


def out_of_run(meta):
    """Whether Celery stored this for a task without a run, and so without its context."""
    return meta["status"] == "REVOKED" or meta["children"] is None


def compare(theirs, ours):
    """The differences of two answers, and how many results were compared."""
    found, ids = [], pairs(theirs.results, ours.results)
    p = {i: clean(m, {}) for i, m in theirs.results.items()}
    o = {ids.get(i, i): clean(m, ids) for i, m in ours.results.items()}
    for i in sorted(set(p) & set(o)):
        for field in sorted(set(p[i]) | set(o[i])):
            x, y = p[i].get(field, "absent"), o[i].get(field, "absent")
            if x == y or x is None and field in ("children", "args", "kwargs") and out_of_run(p[i]):
                continue
            found.append((i, field, x, y))
    # Sets, as Celery sends error callbacks twice when a hard time limit has passed.
    lone = [{json.dumps([m["status"], m.get("name"), m["result"], m.get("args")])
             for i, m in side.items() if i not in other} for side, other in ((p, o), (o, p))]
    told = [{UUID.sub(lambda m: names.get(m.group(), m.group()), t) for t in map(json.dumps, map(json.loads, side.told))}
            for side, names in ((theirs, {}), (ours, ids))]
    for kind, (x, y) in (("result without a pair", lone), ("error callback", told)):
        for one in sorted(x ^ y):
            found.append(("", kind, *((one, None) if one in x else (None, one))))
    return found, len(set(p) & set(o))


def ask(urls, seed, count, *more):
    """Sends the same messages to both sides, and returns their answers.

    A worker sees all messages at once, so that none depends on the pace of the producer.
    """
    source, *sides = (redis.Redis.from_url(url) for url in (urls[0][:-1] + "2", *urls))
    subprocess.run([sys.executable, __file__, "send", urls[0][:-1] + "2", *map(str, (seed, count, *more))], check=True)
    for key in sorted(source.keys(), key=lambda k: k == QUEUE.encode()):
        for r in sides:
            r.restore(key, max(source.pttl(key), 0), source.dump(key), replace=True)
    source.flushdb()
    await_end(sides, 300 + count)
    return [answers(r) for r in sides]


def same(theirs, ours):
    """Whether any of our answers is one of Celery's."""
    return any(not compare(p, o)[0] for p in theirs.values() for o in ours.values())


def check(urls, seed, count):
    """Prints the differences that are no accident of order.

    What Celery stores can depend on the member of a chord that ends last. So workflows
    that differ are sent again, many times, and Celery runs their tasks side by side. A
    difference counts if none of our answers is one of Celery's.
    """
    theirs, ours = ask(urls, seed, count, 0, 1)
    compared = {n: compare(theirs[n][0], ours[n][0]) for n in set(theirs) | set(ours)}
    last = {"results": sum(len(a[0].results) for a in theirs.values()), "compared": sum(n for _, n in compared.values()),
            "callbacks": sum(len(set(a[0].told)) for a in theirs.values())}
    different = {n: found for n, (found, _) in compared.items() if found}
    left = set(different) - {UNKNOWN}
    chance = 0 < len(left) < len(compared) / 20  # more of them are no accident
    if chance:
        app.control.pool_grow(3, reply=True)
    for turn in range(TURNS):
        if chance and left:
            theirs, ours = ask(urls, seed, count, 1 + COPIES * turn, COPIES, *sorted(left))
            left = {n for n in left if not same(theirs[n], ours[n])}
    titles = [name for name, *_ in workflows(seed, count)] + ["?"]
    for n, found in sorted(different.items()):
        for i, field, x, y in found:
            print(json.dumps({"flow": titles[n], "id": i, "field": field, "celery": x, "ours": y, "varies": n not in left | {UNKNOWN}}))
    print(json.dumps(last))


def main():
    command = sys.argv[1]
    if command == "worker":
        app.worker_main(["worker", "--queues", QUEUE, "--hostname", "theirs@%h", "--loglevel", "info", "--without-mingle"])
    elif command == "send":
        produce(*map(int, sys.argv[3:]))
        sys.stdout.flush()
        os._exit(0)  # the handles of the results would unsubscribe, one by one
    else:
        check(sys.argv[2:4], *map(int, sys.argv[4:6]))


if __name__ == "__main__":
    main()
