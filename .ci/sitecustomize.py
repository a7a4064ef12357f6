"""Lets Celery 5.2 load on Python 3.12 and newer, which came after it.

Python reads this file by itself when it starts in one of the test environments.
It gives back two things that newer Pythons took away; nothing else changes.
"""
import logging
from importlib import metadata

if not hasattr(metadata.EntryPoints, "get"):  # until Python 3.11
    metadata.EntryPoints.get = lambda self, group, default=(): self.select(group=group) or default

if not hasattr(logging, "_acquireLock"):  # until Python 3.12
    logging._acquireLock = logging._lock.acquire
    logging._releaseLock = logging._lock.release
