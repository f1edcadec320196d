"""docs/recipes.md: its configurations, by the comment that each begins with, and its table."""

import re
from pathlib import Path

import yaml

PAGE = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text("utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


TEXTS = {re.match(r"# (.*)\n", text)[1]: text for text in blocks("yaml")}
CONFIGS = {name: yaml.safe_load(text) for name, text in TEXTS.items()}
SERVICE = CONFIGS["streams.yaml"]["service"]
ROWS = [
    [cell.strip(" `") for cell in line.strip("|").split("|")]
    for line in re.findall(r"^\|.*`http.*\|$", PAGE, re.MULTILINE)
]
CLIENTS = {client: (address, key) for client, _, address, key in ROWS}
"""Where each sends its requests, and by which key."""
