"""Processes of this machine, through /proc.

In: pids, and markers: a text in a process's environment or arguments. Out: who carries a marker,
who descends from whom, what memory is taken. Nothing is signalled unless it carries the marker that
the caller names, and a pidfd is held from before that look until the signal is sent, so a pid that
is given to somebody else meanwhile is never hit.
"""

import os
import select
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

PROC = Path("/proc")
KILL = signal.SIGKILL

# Set when the run is broken off: every wait ends at once then, in all threads.
cancelled = threading.Event()

# One look at a time: threads that take turns at it would all be slow.
looking = threading.Lock()


class CannotMeasure(Exception):
    """Nothing was measured, for this reason."""


def wait_until(true: Callable[[], bool], seconds: float, every: float = 0.1) -> bool:
    """Whether it became true in that time."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() >= deadline:
            return False
        if cancelled.wait(every):
            raise CannotMeasure("the run was broken off")
    return True


def pause(seconds: float) -> None:
    """Sleeps, unless the run is broken off."""
    wait_until(lambda: False, seconds, every=seconds)


def carries(pid: int, marker: str) -> bool:
    """Whether a living process carries a marker; a zombie has neither environment nor arguments."""
    for part in ("environ", "cmdline"):
        try:
            if marker.encode() in (PROC / str(pid) / part).read_bytes():
                return True
        except OSError:
            pass
    return False


def all_pids() -> list[int]:
    """The newest first, as a rule: they are who may be gone again soon."""
    return sorted((int(name) for name in os.listdir(PROC) if name.isdigit()), reverse=True)


def marked(marker: str) -> list[int]:
    """Everybody who carries a marker, and stays for as long as a look takes."""
    with looking:
        return [pid for pid in all_pids() if carries(pid, marker)]


class Held:
    """A process with a marker, held by its pidfd."""

    def __init__(self, pid: int, marker: str) -> None:
        self.pid = pid
        try:
            self.fd = os.pidfd_open(pid)
        except ProcessLookupError:
            raise CannotMeasure(f"process {pid} is gone") from None
        if not carries(pid, marker):
            os.close(self.fd)
            raise CannotMeasure(f"process {pid} is none of ours, or gone")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)

    def send(self, number: int) -> bool:
        """Whether there still was somebody, zombies included."""
        try:
            signal.pidfd_send_signal(self.fd, number)
            return True
        except ProcessLookupError:
            return False

    def wait_dead(self, seconds: float) -> bool:
        """Whether it died in that time; somebody may still have to reap it."""
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def wait_reaped(self, seconds: float) -> bool:
        """Whether it was reaped in that time. Spins: this is what is being timed."""
        deadline = time.monotonic() + seconds
        while self.send(0):
            if time.monotonic() >= deadline:
                return False
        return True


def send(pid: int, marker: str, number: int) -> bool:
    """Whether a process that carries the marker was there to be signalled."""
    try:
        with Held(pid, marker) as held:
            return held.send(number)
    except CannotMeasure:
        return False


def sweep(marker: str, seconds: float = 10) -> None:
    """Kills who carries a marker, until looks one after the other have found nobody."""
    deadline = time.monotonic() + seconds
    empty = 0
    # One of the trees moves on between two looks, and may be born behind one.
    while empty < 3:
        found = [pid for pid in all_pids() if carries(pid, marker) and send(pid, marker, KILL)]
        empty = 0 if found else empty + 1
        if found and time.monotonic() >= deadline:
            raise CannotMeasure(f"processes marked {marker} do not die: {found}")
        time.sleep(0.02)


def name_of(pid: int) -> str:
    return (PROC / str(pid) / "comm").read_text().strip()


def groups_of(pid: int) -> str:
    """The control groups that a process is in; empty for who is gone."""
    try:
        return (PROC / str(pid) / "cgroup").read_text()
    except OSError:
        return ""


def parent_of(pid: int) -> int:
    """0 for who is gone."""
    try:
        # The name before the last bracket may hold anything, brackets included.
        return int((PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def family(root: int) -> list[int]:
    """A process and all its descendants."""
    parents = {pid: parent_of(pid) for pid in all_pids()}
    found = [root]
    for member in found:
        found.extend(pid for pid, parent in parents.items() if parent == member)
    return found


def memory(pid: int) -> tuple[int, int]:
    """Resident and proportional set size, in KiB."""
    lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()[1:]
    sizes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    return sizes["Rss"], sizes["Pss"]
