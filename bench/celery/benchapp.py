"""Celery's side of the benchmark: the task that all workers offer.

BROKER   URL of Redis, broker and result backend
PROFILE  default   Celery's own settings: acknowledged when taken, prefetch multiplier 4
         service   as a worker is set up that must not lose mails, and shows what runs:
                   acknowledged when done, prefetch multiplier 1, STARTED is stored, time limits
SMTP     host and port of the relay of bench.mail, with the certificate of its authority in the file SMTP_CA
"""
import os
import smtplib
import ssl
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText

from celery import Celery

app = Celery("bench", broker=os.environ["BROKER"], backend=os.environ["BROKER"])
app.conf.update(accept_content=["json"], task_default_queue="bench", result_expires=3600)
if os.environ["PROFILE"] == "service":
    app.conf.update(
        task_acks_late=True, worker_prefetch_multiplier=1,
        task_track_started=True, task_time_limit=300, task_soft_time_limit=240,
    )


@app.task(name="bench.noop")
def noop(*args):
    return None


@app.task(name="bench.mail")
def mail(*args):
    """Sends a mail as the old service did: a connection, TLS and a login for each."""
    host, port = os.environ["SMTP"].split(":")
    message = MIMEMultipart("alternative")
    message["Subject"], message["From"], message["To"] = "Your booking", "mail@evently.example", "jane.roe@example.com"
    message.attach(MIMEText("All work and no play makes Jack a dull boy.\n" * 40, "plain"))
    message.attach(MIMEText("<p>All work and no play makes Jack a dull boy.</p>\n" * 80, "html"))
    with smtplib.SMTP(host, int(port), timeout=30) as server:
        server.starttls(context=ssl.create_default_context(cafile=os.environ["SMTP_CA"]))
        server.login("bench", "bench")
        server.send_message(message)
    return {"success": True}
