"""A Dockerfile without an engine: its stages in, each of them carried out in a folder out.

COPY and RUN are done as they stand, with absolute paths moved into the folder, but for the lines
that add a user and install pip. The base image is this machine's Python and pip; a virtual
environment finds what is installed for these tests, so that pip has nothing to download and only
checks that this is what was asked for. What one stage takes from another is linked, because a
virtual environment cannot be moved.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

_MOVED = re.compile(r"(?<![\w./])/(?=(?:build|opt|wheels|data|cache)\b)")


@dataclass(frozen=True)
class Step:
    name: str
    flags: dict[str, str]
    value: str

    @property
    def words(self) -> list[str]:
        """What follows the name, in either of the two forms."""
        return json.loads(self.value) if self.value.startswith("[") else self.value.split()


@dataclass(frozen=True)
class Stage:
    name: str
    base: str
    steps: list[Step]

    def all(self, name: str) -> list[Step]:
        return [step for step in self.steps if step.name == name]


def parse_dockerfile(text: str) -> dict[str, Stage]:
    """The stages by name, in order; every stage must have one."""
    stages: dict[str, Stage] = {}
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        if not line.strip():
            continue
        name, rest = line.split(maxsplit=1)
        if name == "FROM":
            base, _, stage = rest.split()
            stages[stage] = Stage(stage, base, [])
            continue
        flags = {}
        while flag := re.match(r"--([\w-]+)=(\S+)\s+", rest):
            flags[flag[1]] = flag[2]
            rest = rest[flag.end() :]
        if stages:  # what stands before the first stage only names the base image
            list(stages.values())[-1].steps.append(Step(name, flags, rest.strip()))
    return stages


def lineage(stages: dict[str, Stage], name: str) -> list[Step]:
    """Every step that a stage is made of, from its first ancestor on."""
    stage = stages[name]
    before = lineage(stages, stage.base) if stage.base in stages else []
    return before + stage.steps


class Dockerignore:
    """Which paths of a context the builder sees; the last line that matches decides."""

    def __init__(self, text: str) -> None:
        lines = [line.strip() for line in text.splitlines()]
        self._rules = [
            (line.startswith("!"), self._pattern(line.removeprefix("!")))
            for line in lines
            if line and not line.startswith("#")
        ]

    def keeps(self, path: str) -> bool:
        kept = True
        for keep, pattern in self._rules:
            if pattern.fullmatch(path):
                kept = keep
        return kept

    @staticmethod
    def _pattern(line: str) -> re.Pattern[str]:
        translated = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
        parts = re.split(r"(\*\*/|\*\*|\*|\?)", line.strip("/"))
        body = "".join(translated.get(part, re.escape(part)) for part in parts)
        return re.compile(f"{body}(?:/.*)?")


class ImageBuild:
    """Builds stages as an engine would, each under a folder of its own instead of /."""

    def __init__(
        self, folder: Path, context: Path, stages: dict[str, Stage], **arguments: str
    ) -> None:
        """`arguments` are what --build-arg gives."""
        self._folder = folder
        self._context = context
        self._stages = stages
        self._arguments = arguments
        self._built: dict[str, StageFolder] = {}

    def stage(self, name: str) -> "StageFolder":
        """That stage, built with all that it is made from if it has not been yet."""
        if name not in self._built:
            self._built[name] = folder = StageFolder(self._folder / name, self._context, self.stage)
            for step in lineage(self._stages, name):
                folder.do(step, self._arguments)
        return self._built[name]


class StageFolder:
    """One stage: `root` stands for its /."""

    def __init__(self, root: Path, context: Path, stage: Callable[[str], "StageFolder"]) -> None:
        self.root = root
        self._context = context
        self._stage = stage
        self._workdir = root
        programs = root / "usr" / "bin"
        programs.mkdir(parents=True)
        (programs / "python").symlink_to(sys.executable)
        _write_program(programs / "pip", f'exec {sys.executable} -m pip "$@"')
        self._environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("VSTREAM_", "PYTHON"))
        }
        self._environment["PATH"] = f"{programs}{os.pathsep}{os.environ['PATH']}"

    def do(self, step: Step, arguments: Mapping[str, str]) -> None:
        match step.name:
            case "WORKDIR":
                self._workdir = Path(self.inside(step.value))
                self._workdir.mkdir(parents=True, exist_ok=True)
            case "ENV" | "ARG":
                for name, value in re.findall(r"(\w+)=(\S*)", step.value):
                    value = self.inside(arguments.get(name, value).strip('"'))
                    self._environment[name] = value.replace("$PATH", self._environment["PATH"])
            case "COPY":
                self._copy(step)
            case "RUN" if not step.value.startswith(("useradd", "sed")):
                self._mount(step.flags.get("mount", ""))
                if step.value.startswith("python -m venv "):
                    self.run(f"{step.value} --without-pip")
                    self._lend_installed_packages(step.words[-1])
                else:
                    self.run(step.value)

    def run(self, command: str) -> str:
        """What it writes to stdout; a command that fails is an AssertionError with its output."""
        done = subprocess.run(
            ["sh", "-c", self.inside(command)],
            cwd=self._workdir,
            env=self._environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout

    def inside(self, text: str) -> str:
        """`text` with the image's absolute paths as they are on this machine."""
        return _MOVED.sub(f"{self.root}/", text)

    def _lend_installed_packages(self, venv: str) -> None:
        """And pip, which takes longer to be installed than all else here."""
        folder = Path(self.inside(venv))
        packages = next(folder.glob("lib/python*/site-packages"))
        (packages / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
        _write_program(folder / "bin" / "pip", f'exec {folder}/bin/python -m pip "$@"')

    def _copy(self, step: Step) -> None:
        *sources, target = step.words
        for source in sources:
            to = self._workdir / self.inside(target)
            to = to / Path(source).name if target.endswith("/") else to
            to.parent.mkdir(parents=True, exist_ok=True)
            if "from" in step.flags:
                to.symlink_to(self._stage(step.flags["from"]).inside(source))
            elif (self._context / source).is_dir():
                shutil.copytree(self._context / source, to)
            else:
                shutil.copy(self._context / source, to)

    def _mount(self, flag: str) -> None:
        """--mount=type=bind,from=STAGE: seen for good here, in an image only during the step."""
        mount = dict(part.split("=", 1) for part in flag.split(",") if part)
        if mount.get("type") == "bind":
            source = self._stage(mount["from"]).inside(mount["source"])
            Path(self.inside(mount["target"])).symlink_to(source)


def _write_program(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)
