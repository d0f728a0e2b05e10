"""What runs inside the trees, started by their scripts.

In: the role, the directory for ready files, and a title that makes the process findable by its
arguments. Out: each process of the tree creates its ready file once it is what it should be. Every
process ends by itself after a while, so that nothing outlives a run that was cut off.
"""

import os
import signal
import sys
import time
from pathlib import Path

LIFETIME_S = 120
MOVING_S = 60
CHAINS = 4
GENERATION_S = 0.05


def stay(ready: Path) -> None:
    """Says that it is ready, and sits there until a signal ends it."""
    # An alarm is not inherited: each process that stays sets its own.
    signal.alarm(LIFETIME_S)
    ready.touch()
    while True:
        signal.pause()


def stubborn(ready: Path) -> None:
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        stay(ready / "child")
    stay(ready / "main")


def session(ready: Path) -> None:
    if os.fork() == 0:
        os.setsid()
        stay(ready / "child")
    stay(ready / "main")


def daemon(ready: Path, clean: bool) -> None:
    """The classic: fork, setsid, fork, no terminal, no directory, no files, umask."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() != 0:
            os._exit(0)
        os.chdir("/")
        os.umask(0)
        os.closerange(0, 1024)
        for fd in range(3):
            assert os.open("/dev/null", os.O_RDWR) == fd
        if clean:
            title = sys.argv[3]
            again = [sys.executable, __file__, "leaf", str(ready / "daemon"), title]
            os.execve(sys.executable, again, {})
        stay(ready / "daemon")
    os.wait()
    stay(ready / "main")


def chain(ready: Path) -> None:
    """Each generation lives for a moment, and leaves a child behind that nobody waits for."""
    until = time.monotonic() + MOVING_S
    while time.monotonic() < until:
        # A look can miss who moves: that is how each says that it was there.
        ready.touch()
        time.sleep(GENERATION_S)
        if os.fork() != 0:
            break
    os._exit(0)


def moving(ready: Path) -> None:
    # First generations are reaped by the kernel.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for number in range(CHAINS):
        if os.fork() == 0:
            chain(ready / f"chain{number}")
    stay(ready / "main")


def main() -> None:
    role, ready = sys.argv[1], Path(sys.argv[2])
    if role == "leaf":
        stay(ready)
    elif role in ("daemon", "clean-daemon"):
        daemon(ready, role == "clean-daemon")
    else:
        {"stubborn": stubborn, "session": session, "moving": moving}[role](ready)


if __name__ == "__main__":
    main()
