"""The four measurements.

In: a bench, that is where the programs and temporary directories are. Out: a table each. A cell
that could not be measured is a dash with a footnote that says why, and makes the run fail.
"""

import math
import random
import statistics
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from subprocess import SubprocessError

import procs
from procs import CannotMeasure, pause, wait_until
from supervisors import (
    S6,
    Monit,
    Runit,
    RunitScanned,
    S6Scanned,
    Sidecar,
    Supervisor,
    Supervisord,
    SupervisordGroups,
    Tools,
)
from trees import KINDS, READY_S, Failing, Kind, NotInjected, Sleeper, Tree

ALL = (S6, Runit, Supervisord, Monit, Sidecar)

STOP_S = 15
STORM_S = 60
IDLE_S = 10
# A restart that comes within a second of the last start is delayed or counted as a failed start.
SETTLE_S = 1.2
# Sidecars wait 10 s for a collector first. So many pairs of them wait at the same time.
PAIRS = 3

# Held while a death is timed, and by whoever does more than wait meanwhile.
quiet = threading.Lock()

BEGAN = time.monotonic()


def say(line: str) -> None:
    """Progress, for who waits."""
    print(f"{time.monotonic() - BEGAN:6.1f} s  {line}", file=sys.stderr, flush=True)


@dataclass
class Table:
    title: str
    header: list[str]
    rows: list[list[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    holes: list[str] = field(default_factory=list)

    def attempt(self, measure: Callable[[], list[str]], width: int = 1) -> list[str]:
        """The measured cells, or as many that say there is nothing."""
        try:
            return measure()
        except (CannotMeasure, OSError, SubprocessError) as error:
            word = "fault not injected" if isinstance(error, NotInjected) else "-"
            reason = "; ".join([str(error), *getattr(error, "__notes__", [])])
        if reason not in self.holes:
            self.holes.append(reason)
        return [f"{word} [{self.holes.index(reason) + 1}]"] * width

    def text(self) -> str:
        line = "| {} |".format
        head = [line(" | ".join(self.header)), "|" + "---|" * len(self.header)]
        rows = [line(" | ".join(row)) for row in self.rows]
        holes = [f"[{number}] {reason}" for number, reason in enumerate(self.holes, 1)]
        parts = [f"## {self.title}", "\n".join(head + rows), *self.notes, *holes]
        return "\n\n".join(parts) + "\n"


@dataclass(frozen=True)
class Bench:
    tools: Tools
    root: Path
    kills: int

    def home(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self.root))

    @contextmanager
    def sleeper(self, kind: type[Supervisor]) -> Iterator[tuple[Supervisor, Sleeper]]:
        service = Sleeper(self.home())
        with kind(self.tools, service) as supervisor:
            yield supervisor, service


def survivors(bench: Bench) -> Table:
    """Which processes of a tree are left when the supervisor has stopped its service."""
    columns = (S6, Runit, Supervisord, SupervisordGroups, Monit, Sidecar)
    table = Table("Survivors of a stop", ["tree", *(column.name for column in columns)])
    table.notes.append(
        f"Processes that are left {STOP_S} s after the supervisor's own stop command has returned,"
        " of those that there were; or within how long nobody was left."
    )
    apart: dict[str, list[bool]] = {column.name: [] for column in columns}
    with ThreadPoolExecutor(len(columns)) as pool, breaking_off(pool):
        cells = [
            pool.submit(table.attempt, partial(stop_one, bench, column, kind, apart[column.name]))
            for kind in KINDS
            for column in columns
        ]
        for kind in KINDS:
            row = [cells.pop(0).result()[0] for _ in columns]
            table.rows.append([kind.what, *row])
    # All of them: who manages this machine may move somebody who was just started.
    names = ", ".join(name for name, found in apart.items() if found and all(found))
    table.notes.append(f"Whose trees had control groups of their own, here: {names or 'nobody'}.")
    return table


@contextmanager
def breaking_off(pool: ThreadPoolExecutor) -> Iterator[None]:
    """Lets the threads of a pool end soon when the run is broken off."""
    try:
        yield
    except BaseException:
        procs.cancelled.set()
        pool.shutdown(cancel_futures=True)
        raise


def stop_one(bench: Bench, supervise: type[Supervisor], kind: Kind, apart: list[bool]) -> list[str]:
    tree = Tree(bench.home(), kind)
    with supervise(bench.tools, tree) as supervisor:
        tree.wait_complete()
        apart.append(bool(tree.groups() - {procs.groups_of(supervisor.process.pid)}))
        began = time.monotonic()
        supervisor.stop()
        gone = tree.wait_gone(STOP_S)
        if gone is None:
            cell = f"{tree.left()} of {tree.expected}"
        else:
            # Rounded up: within that time nobody was left.
            tenths = math.ceil(10 * (gone - began))
            cell = f"0 of {tree.expected} ({tenths / 10:.1f} s)"
    say(f"{supervise.name}: {kind.what}: {cell}")
    return [cell]


def notice(bench: Bench) -> Table:
    """How long a supervisor takes to notice that its service was killed."""
    header = ["supervisor", "kills", "p50 ms", "p99 ms"]
    table = Table("Time to notice a death", header)
    table.notes.append(
        "From `kill -9` to the moment when the supervisor has reaped the process; for monit, which"
        " is not its parent, to the line in its log. By nearest rank: below 100 kills p99 is"
        " the largest."
    )

    def measure(kind: type[Supervisor]) -> list[str]:
        row = summary((kill_pairs if kind.one_kill_each else kill_again)(bench, kind))
        say(f"{kind.name}: {row}")
        return row

    # A thread that is being timed gets the interpreter back from one that wakes up that soon.
    sys.setswitchinterval(0.0005)
    with ThreadPoolExecutor(len(ALL)) as pool, breaking_off(pool):
        width = len(header) - 1
        rows = [pool.submit(table.attempt, partial(measure, kind), width) for kind in ALL]
        table.rows.extend([kind.name, *row.result()] for kind, row in zip(ALL, rows))
    return table


def summary(seconds: list[float]) -> list[str]:
    ordered = sorted(seconds)
    p99 = ordered[math.ceil(0.99 * len(ordered)) - 1]
    return [str(len(ordered)), f"{1000 * statistics.median(ordered):.2f}", f"{1000 * p99:.2f}"]


def settle() -> None:
    """Until a kill, for a time that differs: who polls must not be met at one point of its turn."""
    pause(SETTLE_S + random.uniform(0, 1))


def kill_again(bench: Bench, kind: type[Supervisor]) -> list[float]:
    """One supervisor, whose service is killed again and again."""
    taken: list[float] = []
    with bench.sleeper(kind) as (supervisor, service):
        pid = 0
        for _ in range(min(bench.kills, kind.kills_most)):
            pid = service.main(other_than=pid)
            settle()
            with quiet:
                taken.append(supervisor.time_death(pid))
    return taken


def kill_pairs(bench: Bench, kind: type[Supervisor]) -> list[float]:
    """A supervisor for each kill. Pairs of them come up while earlier ones are killed."""
    taken: list[float] = []
    started = 0
    waiting: deque[tuple[ExitStack, list[tuple[Supervisor, Sleeper]]]] = deque()
    with ExitStack() as cleaning:
        while len(taken) < bench.kills:
            while len(waiting) < PAIRS and started < bench.kills:
                pair = cleaning.enter_context(ExitStack())
                size = min(2, bench.kills - started)
                with quiet:
                    beds = [pair.enter_context(bench.sleeper(kind)) for _ in range(size)]
                waiting.append((pair, beds))
                started += size
            pair, beds = waiting.popleft()
            pids = [service.main() for _, service in beds]
            settle()
            with quiet:
                for (supervisor, _), pid in zip(beds, pids):
                    taken.append(supervisor.time_death(pid))
                pair.close()
    return taken


def storms(bench: Bench) -> Table:
    """How often a service is started that fails at once."""
    title = f"Restart storms: a service that exits 1 at once, in {STORM_S} s"
    table = Table(title, ["supervisor", "starts", "the last one after"])
    table.notes.append(
        "The delays and limits of restarts are everybody's defaults; monit looks each second."
        f" The {STORM_S} s begin with the first start, which counts."
    )
    with ThreadPoolExecutor(len(ALL)) as pool, breaking_off(pool):
        rows = [pool.submit(table.attempt, partial(storm, bench, kind), 2) for kind in ALL]
        table.rows.extend([kind.name, *row.result()] for kind, row in zip(ALL, rows))
    return table


def storm(bench: Bench, kind: type[Supervisor]) -> list[str]:
    service = Failing(bench.home())
    with kind(bench.tools, service):
        if not wait_until(lambda: bool(service.starts()), READY_S):
            raise CannotMeasure(f"the failing service was not started within {READY_S} s")
        pause(STORM_S + 1)
        first, *_ = starts = service.starts()
    counted = [start - first for start in starts if start - first <= STORM_S]
    row = [str(len(counted)), f"{counted[-1]:.1f} s"]
    say(f"{kind.name}: {row}")
    return row


def memory(bench: Bench) -> Table:
    """What a supervisor of one idle service takes."""
    table = Table(
        f"Memory for one service, idle for {IDLE_S} s",
        ["supervisor", "processes", "RSS KiB", "PSS KiB"],
    )
    table.notes.append(
        "PSS shares a page among all who map it: a libc that the whole machine uses costs little."
    )
    # One after the other: they would share pages with each other.
    for kind in (S6, S6Scanned, Runit, RunitScanned, Supervisord, Monit, Sidecar):
        table.rows.append([kind.name, *table.attempt(partial(weigh, bench, kind), 3)])
    return table


def weigh(bench: Bench, kind: type[Supervisor]) -> list[str]:
    with bench.sleeper(kind) as (supervisor, service):
        service.main()
        pause(IDLE_S)
        pids = supervisor.pids()
        sizes = [procs.memory(pid) for pid in pids]
        names = ", ".join(procs.name_of(pid) for pid in pids)
    row = [names, *(str(sum(column)) for column in zip(*sizes))]
    say(f"{kind.name}: {row}")
    return row
