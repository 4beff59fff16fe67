"""What every adapter of names reads and writes (the protocol: src/shortlist/prepare/names.py).

An adapter runs in the package's environment: this needs the standard library, nothing else.
"""

import json
import sys


def serve(find):
    """Answers texts with `find(text)`, places of names as (start, stop), until the input ends."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what a package prints is no answer
    for line in sys.stdin:
        row = json.loads(line)
        spans = sorted([int(start), int(stop)] for start, stop in find(row["text"]))
        answers.write(json.dumps({"id": row["id"], "spans": spans}) + "\n")
        answers.flush()


def windows(text, size):
    """Yields (start, part) of a text in parts of at most `size` characters, cut at spaces."""
    start = 0
    while start < len(text):
        stop = start + size
        if stop < len(text):
            stop = text.rfind(" ", start + 1, stop) + 1 or stop
        yield start, text[start:stop]
        start = stop
