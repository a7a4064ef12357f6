"""The application that Flower is started with: it must know the tasks by name to
let an operator change their limits."""
from celery import Celery

app = Celery("flowerapp")


@app.task(name="e2e.work")
def work(seconds, number):
    raise NotImplementedError


@app.task(name="e2e.add")
def add(x, y):
    raise NotImplementedError
