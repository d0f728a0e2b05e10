#!/usr/bin/env python3
"""A small agent for Lubdub, in plain Python.

It indexes the text files below a directory (this file's own by default): each cycle it takes one
file from its queue as a task, counts its words, and keeps a table of the commonest ones. It tells
its sidecar what it does over the local socket: phase, cycle, progress, energy, tasks. Without a
sidecar it works just the same, unheard.

    lubdub up -- python3 deploy/examples/agent.py [DIRECTORY] [--cycles N] [--budget WORDS]

`--cycles 0` (the default) goes on until it is told to stop.
"""

import argparse
import collections
import json
import os
import pathlib
import re
import signal
import socket
import sys
import time

WORD = re.compile(r"[^\W\d_]{3,}")


class Sidecar:
    """The local door: one JSON datagram a beat, never blocking, never failing the agent."""

    def __init__(self):
        self.path = os.environ.get("LUBDUB_SOCKET")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setblocking(False)

    def beat(self, **said):
        if self.path:
            try:
                self.socket.sendto(json.dumps({"v": 1, **said}).encode(), self.path)
            except OSError:
                pass  # A sidecar that is away or busy is no reason to stop working.


class Indexer:
    """Counts words, file by file, within a budget of words."""

    def __init__(self, directory, budget):
        self.directory = directory
        self.budget = budget
        self.spent = 0
        self.words = collections.Counter()
        self.queue = collections.deque()
        self.files = 0

    def next_file(self):
        if not self.queue:
            found = sorted(p for p in self.directory.rglob("*") if p.is_file())
            self.queue.extend(found)
        return self.queue.popleft() if self.queue else None

    def read(self, path):
        """One file into the table; how many words it had."""
        text = path.read_bytes()[: 1 << 20].decode("utf-8", "replace")
        words = WORD.findall(text.lower())
        self.words.update(words)
        self.spent += len(words)
        self.files += 1
        if self.spent >= self.budget:
            # A new day: the budget is spent over a window, and the table starts afresh.
            self.spent, self.words = 0, collections.Counter()
        return len(words)

    def energy(self):
        return round(1 - self.spent / self.budget, 4)

    def commonest(self):
        return ", ".join(f"{word} {count}" for word, count in self.words.most_common(3))


def main():
    here = pathlib.Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", nargs="?", type=pathlib.Path, default=here)
    parser.add_argument("--cycles", type=int, default=0, help="0: until told to stop")
    parser.add_argument("--budget", type=int, default=200_000, help="words")
    arguments = parser.parse_args()
    if not arguments.directory.is_dir():
        parser.error(f"{arguments.directory} is no directory")

    told_to_stop = False

    def stop(_signal, _frame):
        nonlocal told_to_stop
        told_to_stop = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)

    sidecar = Sidecar()
    indexer = Indexer(arguments.directory, max(1, arguments.budget))
    sidecar.beat(phase="starting", model="word-counter")
    sidecar.beat(ready=True, status=f"indexing {arguments.directory.name}")

    cycle = 0
    while not told_to_stop and (arguments.cycles == 0 or cycle < arguments.cycles):
        cycle += 1
        path = indexer.next_file()
        if path is None:
            sidecar.beat(phase="idle", cycle=cycle, status="nothing to read")
            time.sleep(1)
            continue
        sidecar.beat(phase="working", cycle=cycle, task={"id": path.name, "event": "start"})
        began = time.monotonic()
        try:
            count = indexer.read(path)
        except OSError as error:
            sidecar.beat(task={"id": path.name, "event": "fail"}, status=str(error))
            time.sleep(0.5)
            continue
        took = (time.monotonic() - began) * 1000
        sidecar.beat(
            cycle=cycle,
            progress=indexer.files,
            energy=indexer.energy(),
            task={"id": path.name, "event": "done", "ms": round(took, 3)},
            status=f"{path.name}: {count} words; commonest {indexer.commonest()}",
        )
        time.sleep(0.5)

    sidecar.beat(phase="stopping", cycle=cycle, progress=indexer.files)
    print(f"read {indexer.files} files in {cycle} cycles; {indexer.commonest()}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
