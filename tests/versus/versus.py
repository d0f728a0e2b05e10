"""Compares the sidecar with s6, runit, supervisord and monit, side by side on this machine.

In: the sidecar's binary, and Debian's packages of the others, unpacked (`run.sh` does both). Out:
a Markdown table for each measurement on stdout, progress on stderr, and the exit code: 0 when
every cell was measured, else 1. Nothing that was started is left, also after TERM or INT.

Whether the sidecar may make control groups decides what it can find, and so do the rights of who
runs this: one run as root and one as an ordinary user are two results.
"""

import argparse
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import measure
from procs import sweep
from supervisors import Tools
from trees import RUN

ROOT = Path(__file__).resolve().parents[2]
MEASUREMENTS = {
    "survivors": measure.survivors,
    "notice": measure.notice,
    "storms": measure.storms,
    "memory": measure.memory,
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sidecar", type=Path, default=ROOT / "target/release/lubdub-sidecar")
    parser.add_argument("--tools", type=Path, default=ROOT / "target/versus-tools")
    parser.add_argument("--kills", type=int, default=50, help="how many deaths are timed")
    parser.add_argument("--only", action="append", choices=MEASUREMENTS, help="again for more")
    return parser.parse_args()


def version(sidecar: Path) -> str:
    try:
        done = subprocess.run([sidecar, "--version"], capture_output=True, text=True, timeout=5)
        return done.stdout.strip()
    except OSError:
        return "lubdub-sidecar missing"


def heading(tools: Tools) -> str:
    packages = ("s6", "runit", "supervisor", "monit")
    names = [version(tools.sidecar), *(f"{name} {tools.version(name)}" for name in packages)]
    kernel = platform.release().split("-")[0]
    return f"{', '.join(names)}; Linux {kernel}, {os.cpu_count()} cores.\n"


def run(options: argparse.Namespace, root: Path) -> bool:
    """Whether every cell was measured."""
    tools = Tools(options.tools.resolve(), options.sidecar.resolve())
    print(heading(tools), flush=True)
    whole = True
    for name in options.only or MEASUREMENTS:
        table = MEASUREMENTS[name](measure.Bench(tools, root, options.kills))
        print(table.text(), flush=True)
        whole = whole and not table.holes
    return whole


def main() -> int:
    options = arguments()
    # A plain kill cleans up as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    root = Path(tempfile.mkdtemp(prefix="versus-"))
    try:
        return 0 if run(options, root) else 1
    except KeyboardInterrupt:
        return 130
    finally:
        sweep(RUN, 20)
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
