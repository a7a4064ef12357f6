"""Sends chords by real Celery: URL QUEUE CHORDS MEMBERS SECONDS FILE.

The members wait and return their number, counted over all chords; the body sums
them up. Writes a line to FILE for each chord: the ids of the body, of the group
and of the members.
"""
import sys

from celery import Celery, chord


def main():
    url, queue, chords, members, seconds, path = sys.argv[1:]
    app = Celery("chords", broker=url, backend=url)
    app.set_current()
    members = int(members)
    with open(path, "w") as out:
        for c in range(int(chords)):
            header = [app.signature("e2e.work", args=(float(seconds), c * members + i)).set(queue=queue)
                      for i in range(members)]
            result = chord(header)(app.signature("e2e.sum").set(queue=queue))
            print(result.id, result.parent.id, *(r.id for r in result.parent.results), file=out)


if __name__ == "__main__":
    main()
