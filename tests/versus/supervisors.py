"""The supervisors, each with the configuration that its documentation shows for one service.

In: a service, and where the programs lie. Out: the service runs; it is stopped by the supervisor's
own command; and a death of its main process is timed. Everything that is started carries the run's
marker, and nothing of it is left when a `with` ends.
"""

import os
import shlex
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from procs import CannotMeasure, Held, carries, family, send, sweep, wait_until
from trees import RUN, Service

PATH = "/usr/bin:/bin"
COMMAND_S = 25
NOTICE_S = 15
REAPER = Path(__file__).resolve().with_name("reaper.py")


@dataclass(frozen=True)
class Tools:
    """Where Debian's packages were unpacked, and the sidecar."""

    root: Path
    sidecar: Path

    def program(self, name: str) -> str:
        path = self.root / "usr/bin" / name
        if not path.exists():
            raise CannotMeasure(f"{name} is not among the unpacked packages")
        return str(path)

    def version(self, package: str) -> str:
        names = [path.name for path in self.root.glob(f"{package}_*.deb")]
        return names[0].split("_")[1].replace("%3a", ":") if names else "missing"

    def unpacked(self) -> dict[str, str]:
        """What lets the unpacked programs find their parts."""
        libraries = self.root.glob("usr/lib/*-linux-gnu")
        return {
            "LD_LIBRARY_PATH": ":".join(str(path) for path in libraries),
            "PATH": f"{self.root}/usr/bin:{PATH}",
            "PYTHONPATH": str(self.root / "usr/lib/python3/dist-packages"),
        }


class Supervisor:
    """One supervisor around one service."""

    name = ""
    # At most so many kills are timed.
    kills_most = 1000
    # It waits before each restart for so long that another instance is quicker to be had.
    one_kill_each = False

    def __init__(self, tools: Tools, service: Service) -> None:
        self.tools = tools
        self.service = service
        self.home = service.home
        # On the supervisor itself, and on what it hands its environment to.
        self.marker = service.marker.replace(".", ":")
        self.process: subprocess.Popen[bytes]

    def command(self) -> list[str]:
        """Writes the configuration, and says what is started."""
        raise NotImplementedError

    def stop(self) -> None:
        """Stops the service by the supervisor's own command."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        return {"HOME": str(self.home), "VERSUS_BY": self.marker} | self.tools.unpacked()

    def __enter__(self) -> Self:
        command = self.command()
        with open(self.home / "supervisor.log", "wb") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment(),
                cwd=self.home,
                start_new_session=True,
            )
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is not None:
            words = (self.home / "supervisor.log").read_text(errors="replace").split("\n")
            error.add_note(f"{self.name} said last: {' '.join(words[-3:]).strip() or 'nothing'}")
        # The supervisor first, or it would start again what is killed.
        send(self.process.pid, self.marker, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(COMMAND_S)
        sweep(self.marker)
        sweep(self.service.marker)
        self.process.wait(COMMAND_S)

    def call(self, *command: str) -> None:
        """Runs one of the supervisor's commands to its end."""
        done = subprocess.run(
            command,
            env=self.environment(),
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
        )
        if done.returncode != 0:
            words = (done.stdout + done.stderr).strip().replace("\n", "; ")
            raise CannotMeasure(f"{Path(command[0]).name} exits {done.returncode}: {words}")

    def pids(self) -> list[int]:
        """The supervisor's own processes."""
        marker = self.service.marker
        return [pid for pid in family(self.process.pid) if not carries(pid, marker)]

    def time_death(self, pid: int) -> float:
        """Kills the main process. How many seconds pass until the supervisor has reaped it."""
        with Held(pid, self.service.marker) as held:
            began = time.perf_counter()
            held.send(signal.SIGKILL)
            if not held.wait_dead(NOTICE_S) or not held.wait_reaped(NOTICE_S):
                raise CannotMeasure(f"a death is not noticed within {NOTICE_S} s")
            return time.perf_counter() - began


class S6(Supervisor):
    name = "s6"

    def command(self) -> list[str]:
        return [self.tools.program("s6-supervise"), str(self.service.directory)]

    def stop(self) -> None:
        self.call(self.tools.program("s6-svc"), "-d", "-x", str(self.service.directory))


class S6Scanned(S6):
    name = "s6, with its scanner"

    def command(self) -> list[str]:
        # Debian's s6-svscan starts /usr/bin/s6-supervise and no other, and that is not installed:
        # it scans an empty directory beside the supervisor that it would have started.
        empty = self.home / "scan"
        empty.mkdir()
        scan = shlex.join([self.tools.program("s6-svscan"), str(empty)])
        return ["/bin/sh", "-c", f"{shlex.join(super().command())} & exec {scan}"]


class Runit(Supervisor):
    name = "runit"

    def command(self) -> list[str]:
        return [self.tools.program("runsv"), str(self.service.directory)]

    def stop(self) -> None:
        self.call(self.tools.program("sv"), "force-stop", str(self.service.directory))


class RunitScanned(Runit):
    name = "runit, with its scanner"

    def command(self) -> list[str]:
        scanned = self.home / "scan"
        scanned.mkdir()
        (scanned / "agent").symlink_to(self.service.directory)
        return [self.tools.program("runsvdir"), str(scanned)]


SUPERVISORD_CONF = """[unix_http_server]
file={home}/supervisor.sock
[supervisord]
logfile={home}/supervisord.log
pidfile={home}/supervisord.pid
childlogdir={home}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://{home}/supervisor.sock
[program:agent]
command={run}
autorestart=true
{more}
"""


class Supervisord(Supervisor):
    name = "supervisord"
    more = ""

    def module(self, name: str) -> list[str]:
        # The system's own interpreter, as the package depends on it.
        system = Path("/usr/bin/python3")
        python = str(system) if system.exists() else sys.executable
        self.tools.program(name)
        return [python, "-m", f"supervisor.{name}", "-c", str(self.home / "supervisord.conf")]

    def command(self) -> list[str]:
        run = str(self.service.run)
        text = SUPERVISORD_CONF.format(home=self.home, run=run, more=self.more)
        (self.home / "supervisord.conf").write_text(text)
        return [*self.module("supervisord"), "-n"]

    def stop(self) -> None:
        self.call(*self.module("supervisorctl"), "stop", "agent")


class SupervisordGroups(Supervisord):
    name = "supervisord, as groups"
    more = "stopasgroup=true\nkillasgroup=true"


MONITRC = """set daemon 1
set log {home}/monit.log
set pidfile {home}/monit.pid
set idfile {home}/monit.id
set statefile {home}/monit.state
set httpd unixsocket {home}/monit.sock
  allow versus:versus
check process agent with pidfile {home}/agent.pid
  start program = "/bin/sh {home}/start"
  stop program = "/bin/sh {home}/stop"
"""


class Monit(Supervisor):
    name = "monit"
    # Each takes two of its cycles, of a second at least.
    kills_most = 15

    def command(self) -> list[str]:
        home = self.home
        rc = home / "monitrc"
        rc.write_text(MONITRC.format(home=home))
        rc.chmod(0o600)
        pid_file = home / "agent.pid"
        start = f"{self.service.run} </dev/null >>{home}/agent.log 2>&1 &\necho $! >{pid_file}\n"
        (home / "start").write_text(start)
        (home / "stop").write_text(f"kill $(cat {pid_file})\n")
        return [sys.executable, str(REAPER), *self.monit(), "-I"]

    def monit(self) -> list[str]:
        return [self.tools.program("monit"), "-c", str(self.home / "monitrc")]

    def stop(self) -> None:
        self.call(*self.monit(), "stop", "agent")

    def pids(self) -> list[int]:
        return [pid for pid in super().pids() if pid != self.process.pid]

    def time_death(self, pid: int) -> float:
        """Monit is not its parent: it has noticed when its log says so."""
        log = self.home / "monit.log"
        with open(log, encoding="utf-8") as lines, Held(pid, self.service.marker) as held:
            lines.seek(0, os.SEEK_END)
            began = time.perf_counter()
            held.send(signal.SIGKILL)
            if not wait_until(lambda: "is not running" in lines.read(), NOTICE_S, every=0.001):
                raise CannotMeasure(f"a death is not in the log within {NOTICE_S} s")
            return time.perf_counter() - began


class Sidecar(Supervisor):
    name = "lubdub-sidecar"
    one_kill_each = True

    def command(self) -> list[str]:
        if not self.tools.sidecar.exists():
            raise CannotMeasure(f"there is no {self.tools.sidecar}")
        (self.home / "runtime").mkdir(mode=0o700)
        options = {
            "--id": "versus" + self.service.marker.removeprefix(RUN).rstrip("."),
            # Nothing listens there: a collector is not part of what is compared.
            "--collector": "http://127.0.0.1:9",
            "--state-dir": str(self.home / "state"),
        }
        words = [word for option in options.items() for word in option]
        return [str(self.tools.sidecar), "run", *words, "--", str(self.service.run)]

    def environment(self) -> dict[str, str]:
        own = {"XDG_RUNTIME_DIR": str(self.home / "runtime"), "PATH": PATH}
        return {"HOME": str(self.home), "VERSUS_BY": self.marker} | own

    def stop(self) -> None:
        if not send(self.process.pid, self.marker, signal.SIGTERM):
            raise CannotMeasure("the sidecar is gone")
