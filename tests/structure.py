#!/usr/bin/env python3
"""How the house is built, in numbers that anybody can print again.

    tests/structure.py [CRATE ...]      default: collector/engine collector collector/cli

Files and functions, the structs with the most fields, the doors that change a fleet, what a sample
cause touches, and circles of imports between the files of a crate. It reads text, not types: `use`
paths by their first segments, structs by their fields, functions by their braces.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = "EndedEarly"


def rust(crate):
    nested = {crate / "cli", crate / "engine", crate / "core", crate / "wire"} - {crate}
    files = sorted((crate / "src").rglob("*.rs"))
    return [f for f in files if not any(n in f.parents for n in nested)]


def is_test(path):
    return "tests" in path.parts or path.name == "tests.rs"


def production(path):
    return path.read_text().split("#[cfg(test)]\nmod tests {")[0]


def functions(text):
    """Name and number of lines of each function with a body."""
    found, lines = [], text.split("\n")
    for number, line in enumerate(lines):
        name = re.match(r"\s*(?:pub(?:\([a-z]+\))? )?(?:const |async |unsafe )*fn (\w+)", line)
        if not name:
            continue
        indent = len(line) - len(line.lstrip())
        for end in range(number, len(lines)):
            if lines[end] == " " * indent + "}":
                found.append((name.group(1), end - number + 1))
                break
            if lines[end].rstrip().endswith(";") and end == number:
                break
    return found


def structs(text):
    for name, body in re.findall(r"struct (\w+)[^;{(]*\{\n(.*?)\n\}", text, re.S):
        yield name, len(re.findall(r"^    (?:pub(?:\([a-z]+\))? )?\w+: ", body, re.M))


def module_of(path, source):
    parts = list(path.relative_to(source).with_suffix("").parts)
    return tuple(p for p in parts if p not in ("lib", "main", "mod"))


def imports(path, source, modules):
    """Modules of the same crate that a file names in its `use` lines."""
    own = module_of(path, source)
    for line in re.findall(r"^(?:pub(?:\([a-z]+\))? )?use ((?:crate|super|self)::[^;]+);",
                           production(path), re.M):
        head, _, rest = re.sub(r"\s+", "", line).partition("::")
        base = () if head == "crate" else own[:-1] if head == "super" else own
        while rest.startswith("super::"):
            base, rest = base[:-1], rest[len("super::"):]
        for name in re.findall(r"^\w+|(?<=[{,])\w+(?=::|[,}])", rest):
            path_there = base + (name,)
            deeper = re.match(re.escape(name) + r"::(\w+)", rest)
            if deeper and path_there + (deeper.group(1),) in modules:
                path_there += (deeper.group(1),)
            if path_there in modules and path_there != own:
                yield path_there


def circles(graph):
    """Strongly connected sets of more than one (Tarjan)."""
    index, low, stack, found = {}, {}, [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph[node]:
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            circle = []
            while not circle or circle[-1] != node:
                circle.append(stack.pop())
            if len(circle) > 1:
                found.append(sorted("::".join(m) for m in circle))

    for node in graph:
        if node not in index:
            visit(node)
    return found


def report(crate):
    source = crate / "src"
    files = [f for f in rust(crate) if not is_test(f)]
    texts = {f: production(f) for f in files}
    lines = sorted(t.count("\n") for t in texts.values())
    all_functions = [(n, name, f) for f in files for name, n in functions(texts[f])]
    lengths = sorted(n for n, _, _ in all_functions)
    print(f"{crate.relative_to(ROOT)}")
    print(f"  files {len(files)}, lines {sum(lines)}, median {lines[len(lines) // 2]}, "
          f"largest {lines[-1]}")
    print(f"  functions {len(lengths)}, median {lengths[len(lengths) // 2]}, "
          f"p95 {lengths[len(lengths) * 95 // 100]}, longest "
          + ", ".join(f"{name} {n}" for n, name, _ in sorted(all_functions, reverse=True)[:3]))
    widest = sorted(((n, name) for t in texts.values() for name, n in structs(t)), reverse=True)
    print("  widest structs " + ", ".join(f"{name} {n}" for n, name in widest[:8]))
    modules = {module_of(f, source) for f in files}
    graph = {module_of(f, source): set(imports(f, source, modules)) for f in files}
    files_in_circles = circles({m: others & graph.keys() for m, others in graph.items()})
    print("  circles of files: " + ("; ".join(", ".join(c) for c in files_in_circles) or "none"))
    # A parent and its children are one room.
    rooms = {}
    for module, others in graph.items():
        for other in others:
            a, b = module[:1], other[:1]
            rooms.setdefault(a, set())
            rooms.setdefault(b, set())
            if a != b:
                rooms[a].add(b)
    rooms.pop((), None)
    rooms = {room: others - {()} for room, others in rooms.items()}
    found = circles(rooms)
    print("  circles of rooms: " + ("; ".join(", ".join(c) for c in found) or "none"))


def main():
    chosen = sys.argv[1:] or ["collector/engine", "collector", "collector/cli"]
    for crate in chosen:
        report(ROOT / crate)
    engine = "\n".join(production(f) for f in rust(ROOT / "collector/engine") if not is_test(f))
    fleet = re.findall(r"impl Fleet \{.*?\n\}", engine, re.S)
    doors = [name for part in fleet
             for name in re.findall(r"^    pub fn (\w+)\([^)]*&mut self", part, re.M | re.S)]
    print(f"doors that change a fleet: {len(doors)} ({', '.join(doors)})")
    touched = [f.relative_to(ROOT).as_posix() for crate in ("shared", "sidecar", *chosen)
               for f in rust(ROOT / crate) if not is_test(f)
               and (SAMPLE in f.read_text() or "ended_early" in f.read_text())]
    print(f"files of a sample cause ({SAMPLE}), without proto and documents: "
          f"{len(touched)} ({', '.join(touched)})")


if __name__ == "__main__":
    main()
