"""The claims that ARCHITECTURE.md makes about the code's structure."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from app.commands import cli

ROOT = Path(__file__).parents[1]
PACKAGES = ("encoders", "memory", "vstream", "app", "eval")
MODULES = sorted(
    path.relative_to(ROOT)
    for package in PACKAGES
    for path in (ROOT / package).rglob("*.py")
    if path.name != "__init__.py"
)
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
DRAWERS = {"utils", "util", "common", "helpers", "helper", "misc", "base", "manager", "types"}


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_every_module_says_what_it_is(module):
    assert module.stem not in DRAWERS
    source = (ROOT / module).read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 400, "this is two files"
    docstring = ast.get_docstring(ast.parse(source))
    assert docstring, "a module begins with a sentence on what goes in and out"


def test_architecture_names_only_files_that_exist():
    named = set(re.findall(r"`([\w/]+/[\w/]*\.?(?:py)?)`", ARCHITECTURE))
    assert len(named) > 10
    missing = {path for path in named if not (ROOT / path).exists()}
    assert not missing


COMMANDS = typer.main.get_command(cli).commands
HEAVY = {"torch", "transformers", "faiss", "av", "gradio", "fastapi"}


def modules_of(command):
    """What the process of a command has imported when it ends."""
    check = f"""
import atexit, sys
atexit.register(lambda: print(*sys.modules))
sys.argv = {["vstream", *command.split()]!r}
from app.cli import main
main()
"""
    run = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(run.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "command", ["--help", "ask --help", "search --help", "--version", "key", "policies"]
)
def test_a_command_that_needs_no_model_starts_at_once(command):
    modules = modules_of(command)
    assert not HEAVY & modules
    if "--help" in command:
        assert len(modules) < 550, "with typer and rich; torch alone makes a thousand more"


@pytest.mark.parametrize("command", ["config", "streams --store memory://"])
def test_a_command_that_only_reads_settings_or_heads_needs_no_torch(command):
    assert not {"torch", "transformers", "faiss"} & modules_of(command)


def test_every_command_says_in_its_line_of_the_help_what_it_does(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    shown = " ".join(CliRunner().invoke(cli, ["--help"]).output.replace("│", " ").split())
    commands = [one for one in COMMANDS.values() if not one.hidden]
    assert len(commands) > 10
    for command in commands:
        said = " ".join(command.help.split())
        assert said.endswith(".")
        assert said in shown


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_shows_what_one_would_type(name):
    shown = CliRunner().invoke(cli, [name, "--help"]).output
    assert COMMANDS[name].hidden or f"Examples:\n vstream {name}" in re.sub(r" +\n", "\n", shown)


def test_options_stand_only_where_they_matter():
    for name in ("search", "find", "recap", "streams", "forget", "doctor"):
        options = {option for one in COMMANDS[name].params for option in one.opts}
        assert not {"--transport", "--fps", "--connect-timeout", "--redis-bytes"} & options
        assert "--store" in options
    assert "--model" not in {option for one in COMMANDS["streams"].params for option in one.opts}


def test_a_package_imports_nothing_heavy_that_it_need_not():
    """One after the other, in one process."""
    heavy = {
        "encoders": ("av", "memory", "transformers"),
        "memory": ("transformers", "av"),
        "app.commands": ("torch", "pydantic", "numpy"),
    }
    check = "\n".join(
        f"import {package}; print({package!r}, [m for m in {modules!r} if m in sys.modules])"
        for package, modules in heavy.items()
    )
    run = subprocess.run(
        [sys.executable, "-c", f"import sys\n{check}"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert run.stdout.splitlines() == [f"{package} []" for package in heavy]
