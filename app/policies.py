"""`vstream policies`: the memory policies that can be chosen, with paper and settings."""

import json

from rich.table import Table

from app.terminal import Terminal
from memory.errors import UnknownNameError
from memory.policies import POLICIES
from memory.policies.policy import MemoryPolicy


def list_policies(terminal: Terminal, *, as_json: bool) -> None:
    """A table, or one JSON list on the last line. One that cannot be loaded is named."""
    found: list[type[MemoryPolicy]] = []
    for name in POLICIES.names():
        try:
            found.append(POLICIES.find(name))
        except UnknownNameError as error:
            terminal.say(str(error))
    if as_json:
        terminal.document(json.dumps([_document(policy) for policy in found]))
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("policy", "what it keeps and reads", "settings", "paper"):
        table.add_column(heading)
    for policy in found:
        card = policy.card
        table.add_row(policy.name, card.keeps, ", ".join(policy.Settings.model_fields), card.paper)
    terminal.out.print(table)


def _document(policy: type[MemoryPolicy]) -> dict[str, object]:
    card = policy.card
    return {
        "name": policy.name,
        "paper": card.paper,
        "keeps": card.keeps,
        "differs": card.differs,
        "exact": card.is_exact,
        "changes_store": policy.changes_store,
        "takes_budget": card.takes_budget,
        "settings": policy.Settings.model_json_schema()["properties"]
        if policy.Settings.model_fields
        else {},
    }
