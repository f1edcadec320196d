"""Measure the house: how much code there is, how it hangs together, what a frame passes through.

`make house` prints it. Only what a reader can count again is counted.
"""

import ast
import statistics
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
PACKAGES = ("encoders", "memory", "vstream", "app", "eval")
LONG_LINES = 60


def modules():
    """All modules of the packages by dotted name, and where they are."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(name, path, known):
    """The modules of ours that one imports at its top, in functions and for types alike."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.add(full if full in known else node.module)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    return {one for one in found if one in known and one != name}


def long_functions(path):
    """Names of the functions of a module with more than LONG_LINES lines."""
    tree = ast.parse(path.read_text("utf-8"))
    functions = (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
    return [n.name for n in functions if n.end_lineno - n.lineno >= LONG_LINES]


def files_of_a_frame():
    """Files of ours that run between `Session.push` of one frame and its block in a file store."""
    from encoders import Frame
    from memory import MemoryConfig
    from vstream import VStreamConfig, load_video_llm, open_session

    seen = set()

    def look(frame, event, argument):
        if event == "call" and frame.f_code.co_filename.startswith(str(ROOT)):
            seen.add(str(Path(frame.f_code.co_filename).relative_to(ROOT)))

    with tempfile.TemporaryDirectory() as folder:
        config = VStreamConfig(memory=MemoryConfig(store=Path(folder).as_uri()))
        frames = [
            Frame(np.random.default_rng(i).integers(0, 256, (96, 96, 3), np.uint8), float(i), 0.0)
            for i in range(3)
        ]
        threading.setprofile(look)
        with open_session(config, load_video_llm(None), "traced") as session:
            session.push(frames[:2])  # all that a first frame alone needs
            seen.clear()
            sys.setprofile(look)
            session.push(frames[2:])
            sys.setprofile(None)
            threading.setprofile(None)
            return sorted(one for one in seen if one.startswith(PACKAGES))


def main():
    found = modules()
    lines = {name: len(path.read_text("utf-8").splitlines()) for name, path in found.items()}
    for package in PACKAGES:
        own = [n for name, n in lines.items() if name.split(".")[0] == package]
        say(f"{package:<10} {len(own):>4} modules {sum(own):>7,} lines")
    say(f"{'all':<10} {len(lines):>4} modules {sum(lines.values()):>7,} lines")
    largest = max(lines, key=lines.get)
    say(
        f"median module {statistics.median(lines.values()):.0f} lines, largest {largest}: "
        f"{lines[largest]}"
    )
    arrows = {name: imports_of(name, path, found) for name, path in found.items()}
    mutual = [(a, b) for a in arrows for b in arrows[a] if a < b and a in arrows[b]]
    say(f"mutual imports {len(mutual)}")
    long = [f"{name}.{one}" for name, path in found.items() for one in long_functions(path)]
    say(f"functions over {LONG_LINES} lines {len(long)}: {', '.join(long) or 'none'}")
    crossed = files_of_a_frame()
    say(f"files that a frame crosses from push to a file store {len(crossed)}:")
    for one in crossed:
        say(f"  {one}")


def say(line):
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    main()
