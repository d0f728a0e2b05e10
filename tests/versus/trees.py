"""What the supervisors are given to run: trees of processes, a sleeper, and one that fails at once.

In: an empty directory. Out: a service, that is a script `run` in it, whose processes all carry a
marker of their own; and for a tree the proof that it stands: its processes have said so with a file
each, and as many as expected are found by the marker.
"""

import itertools
import shlex
import shutil
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from procs import CannotMeasure, groups_of, marked, pause, wait_until

# Carried by everything that is started, so that nothing is ever left behind.
RUN = f"versus-{uuid.uuid4()}"

AGENT = Path(__file__).resolve().with_name("agent.py")
READY_S = 40
COUNT_S = 5
# Twenty generations of what moves.
MOVES_S = 1.0
numbers = itertools.count()


class NotInjected(CannotMeasure):
    """The tree did not come to stand as it should, so what a stop leaves of it says nothing."""


class Service:
    """A directory `service` with a script `run` that ends in the given lines."""

    def __init__(self, home: Path) -> None:
        self.home = home
        # The full stop: no marker is the beginning of another.
        self.marker = f"{RUN}-{next(numbers)}."
        self.directory = home / "service"
        self.directory.mkdir(parents=True)
        self.run = self.directory / "run"

    def write(self, body: str) -> "Service":
        # What the tools need to be found must not reach what they run. Monit hands on nothing.
        node = Path(shutil.which("node") or "/usr/bin/node").parent
        script = (
            "#!/bin/sh\n"
            "unset LD_LIBRARY_PATH PYTHONPATH\n"
            f"export VERSUS_TREE={self.marker}\n"
            f"export HOME={shlex.quote(str(self.home))} PATH={node}:/usr/bin:/bin\n"
            f"{body}\n"
        )
        self.run.write_text(script)
        self.run.chmod(0o755)
        return self


class Sleeper(Service):
    """One process that does nothing; each of its lives writes its pid."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.pid_file = home / "main.pid"
        self.write(f"echo $$ >{shlex.quote(str(self.pid_file))}\nexec sleep 900")

    def main(self, other_than: int = 0, seconds: float = READY_S) -> int:
        """The pid of the life that follows another."""

        def pid() -> int:
            text = self.pid_file.read_text() if self.pid_file.exists() else ""
            return int(text) if text.endswith("\n") else other_than

        if not wait_until(lambda: pid() not in (0, other_than), seconds, every=0.05):
            raise CannotMeasure(f"the service did not start within {seconds} s")
        return pid()


class Failing(Service):
    """Exits 1 at once; each start adds a line with its time."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.log = home / "starts"
        path = shlex.quote(str(self.log))
        self.write(f'read -r uptime _ </proc/uptime\necho "$uptime" >>{path}\nexit 1')

    def starts(self) -> list[float]:
        """Seconds since the machine was booted."""
        return [float(line) for line in self.log.read_text().split()] if self.log.exists() else []


@dataclass(frozen=True)
class Kind:
    """A kind of tree."""

    role: str
    what: str
    # Who says that it is ready.
    ready: tuple[str, ...]
    # Who does not, and is found by the marker only.
    silent: int = 0
    # All but the main process move: each is soon followed by a child, and ends.
    moves: bool = False


WAITING = "npm run" if shutil.which("npm") else "node"
CHAINS = tuple(f"chain{number}" for number in range(4))
KINDS = (
    Kind("stubborn", "(a) a child that ignores TERM and HUP", ("main", "child")),
    Kind("session", "(b) a child in a session of its own", ("main", "child")),
    Kind("daemon", "(c) a double-forked daemon, environment kept", ("main", "daemon")),
    Kind("clean-daemon", "(c) the same, environment cleared", ("main", "daemon")),
    Kind("nohup", "(d) `nohup ... &` in a shell that waits", ("main", "child")),
    Kind("wrapper", f"(e) sh, {WAITING}, node", ("main", "leaf"), silent=1),
    Kind("moving", "(f) four chains that fork on each 50 ms", ("main", *CHAINS), moves=True),
)

LEAF_JS = """// Sits there until a signal ends it, or two minutes have passed.
require("fs").writeFileSync(process.argv[2], "");
setTimeout(() => {}, 120000);
"""
# In place of npm, where there is none: it starts a child and waits for it, as npm does.
PARENT_JS = """const { spawn } = require("child_process");
spawn(process.execPath, process.argv.slice(2), { stdio: "inherit" });
"""


class Tree(Service):
    """A tree of one kind."""

    def __init__(self, home: Path, kind: Kind) -> None:
        super().__init__(home)
        self.kind = kind
        self.expected = len(kind.ready) + kind.silent
        self.ready = home / "ready"
        self.ready.mkdir()
        self.write("exec " + shlex.join(self.command()))

    def command(self) -> list[str]:
        if self.kind.role == "nohup":
            agent = shlex.join(self.agent("leaf", self.ready / "child"))
            return self.shell(f"nohup {agent} &\n{self.touch('main')}\nwait\n")
        if self.kind.role == "wrapper":
            return self.shell(f"{self.touch('main')}\n{self.node()}\nexit $?\n")
        return self.agent(self.kind.role, self.ready)

    def agent(self, role: str, ready: Path) -> list[str]:
        return [sys.executable, str(AGENT), role, str(ready), self.marker]

    def touch(self, name: str) -> str:
        return f": >{shlex.quote(str(self.ready / name))}"

    def shell(self, text: str) -> list[str]:
        script = self.home / "main.sh"
        script.write_text(text)
        return ["/bin/sh", str(script), self.marker]

    def node(self) -> str:
        """What the wrapper waits for: two more processes, the last of them says it is ready."""
        if not shutil.which("node"):
            raise CannotMeasure("there is no node")
        leaf = self.home / "leaf.js"
        leaf.write_text(LEAF_JS)
        arguments = shlex.join([str(leaf), str(self.ready / "leaf"), self.marker])
        if not shutil.which("npm"):
            parent = self.home / "parent.js"
            parent.write_text(PARENT_JS)
            return f"node {shlex.quote(str(parent))} {arguments}"
        package = '{"name":"leaf","private":true,"scripts":{"start":"exec node"}}'
        (self.home / "package.json").write_text(package)
        return (
            f"cd {shlex.quote(str(self.home))}\n"
            "export npm_config_update_notifier=false npm_config_logs_max=0\n"
            f"npm run --silent start -- {arguments}"
        )

    def groups(self) -> set[str]:
        """The control groups of those who are there."""
        return {groups_of(pid) for pid in marked(self.marker)} - {""}

    def stamps(self) -> list[int]:
        return [(self.ready / name).stat().st_mtime_ns for name in self.kind.ready]

    def left(self) -> int:
        """How many processes there are. Who moves is counted by what it writes meanwhile."""
        members = set(marked(self.marker))
        if not self.kind.moves:
            return len(members)
        stamps = self.stamps()
        pause(MOVES_S)
        moving = sum(new != old for new, old in zip(self.stamps(), stamps))
        return moving + len(members & set(marked(self.marker)))

    def wait_complete(self) -> None:
        """Returns once it stands, which is proven by its own word and by counting it."""
        missing = [self.ready / name for name in self.kind.ready]
        if not wait_until(lambda: all(path.exists() for path in missing), READY_S):
            late = ", ".join(path.name for path in missing if not path.exists())
            raise NotInjected(f"{self.kind.what}: no word from {late}")
        if not wait_until(lambda: self.left() == self.expected, COUNT_S):
            raise NotInjected(f"{self.kind.what}: {self.left()} processes, not {self.expected}")

    def wait_gone(self, seconds: float) -> float | None:
        """The moment since when nobody is left; `None` when that does not come in time."""
        deadline = time.monotonic() + seconds
        while True:
            looked = time.monotonic()
            if self.left() == 0:
                return looked
            if looked >= deadline:
                return None
            pause(0.1)
