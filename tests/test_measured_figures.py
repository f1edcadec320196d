"""Measured figures say how they were taken, so that anybody can take them again."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = ("performance.md", "memory.md", "experiments.md")
SECTIONS = [
    section
    for page in PAGES
    for section in (ROOT / "docs" / page).read_text("utf-8").split("\n## ")[1:]
]
NAMED = {
    "a command": r"`(?:make|python -m) [^`]+`",
    "a commit": r"\b(?:commit|at) [0-9a-f]{7}\b",
    "a day": r"\b20\d\d-\d\d-\d\d\b",
    "a machine": r"\b(?:cores|H100|H200|A100|RTX)\b",
    "a version of torch": r"\btorch \d+\.\d+",
    "a version of transformers": r"\btransformers \d+\.\d+",
}


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.partition("\n")[0])
def test_every_section_names_what_its_figures_depend_on(section):
    missing = [what for what, pattern in NAMED.items() if not re.search(pattern, section)]
    assert not missing


def test_the_commits_are_those_of_this_project():
    def git(*words):
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)

    if git("rev-parse", "--is-shallow-repository").stdout.strip() != "false":
        return  # no history to look in
    commits = {found[-7:] for s in SECTIONS for found in re.findall(NAMED["a commit"], s)}
    assert commits
    unknown = [one for one in commits if git("cat-file", "-e", f"{one}^{{commit}}").returncode]
    assert not unknown
