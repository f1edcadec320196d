"""Show `vstream plan`: a table, what does not fit this machine, and the command to run."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from math import ceil

import torch

from app.in_words import as_size
from app.plan import Cameras, Plan, Room, make_plan, room_here
from app.terminal import Terminal, table_of
from memory import tier_of
from memory.policies import DEFAULT
from vstream.config import VStreamConfig

_STORE = "file:///var/lib/vstream"
"""The store to plan for if none is given."""
_SPARE = 0.9
"""Share of free space to use; the rest is for others."""
_OVER = 1.05
"""A budget exceeds the planned size by this factor."""


def show_plan(
    terminal: Terminal, config: VStreamConfig, cameras: Cameras, *, as_json: bool
) -> None:
    store = config.memory.store if config.memory.store != "memory://" else _STORE
    is_card = torch.cuda.is_available() if config.device == "auto" else config.device != "cpu"
    room = room_here(store)
    plan = make_plan(config, cameras, is_card=is_card)
    wrong = list(_what_does_not_fit(plan, room, store, is_card=is_card))
    command = _command(config, cameras, plan, room, store)
    if as_json:
        told = {"plan": asdict(plan), "room": asdict(room), "wrong": wrong, "command": command}
        terminal.document(json.dumps(told))
        return
    memory = config.memory
    terminal.out.print(
        f"{cameras.number} cameras, {cameras.days:g} days, model {config.model or 'embedded'}, "
        f"codec {memory.codec}, policy {config.named_policy or DEFAULT}",
        markup=False,
    )
    terminal.out.print(table_of(("what", "a camera", "all"), _rows(plan, cameras, is_card)))
    for one in wrong:
        terminal.out.print(f"does not fit: {one}", markup=False)
    if not wrong:
        terminal.out.print("everything fits this machine")
    elif plan.store_bytes > _SPARE * room.disk:
        terminal.out.print("this command keeps to the disk: old blocks get coarser, then go:")
    terminal.out.print(command, markup=False)
    terminal.say(
        "this assumes that every frame differs from the last; a still scene takes far less"
    )


def _rows(plan: Plan, cameras: Cameras, is_card: bool) -> Iterator[tuple[str, str, str]]:
    device, number = "GPU" if is_card else "CPU", cameras.number
    weights = "unknown" if plan.weight_bytes is None else as_size(plan.weight_bytes)
    lived = plan.window_bytes + plan.codes_bytes

    def of_all(what: str, num_bytes: int) -> tuple[str, str, str]:
        return what, as_size(num_bytes // number), as_size(num_bytes)

    yield "frames per second", f"{plan.frames_per_s / number:g}", f"{plan.frames_per_s:g}"
    hour = of_all("store, per hour", plan.hour_bytes * number)
    yield hour if plan.hour_bytes else (hour[0], "0", "0")
    yield of_all("store, after all days", plan.store_bytes)
    yield of_all("RAM, index", plan.index_bytes)
    yield "RAM, copies of blocks", "-", as_size(plan.cache_bytes)
    yield f"{device}, weights", "-", weights
    yield of_all(f"{device}, windows and index", lived)
    yield f"{device}, one question", "-", as_size(plan.question_bytes)


def _what_does_not_fit(plan: Plan, room: Room, store: str, *, is_card: bool) -> Iterator[str]:
    if store.startswith("file:") and plan.store_bytes > _SPARE * room.disk:
        yield f"store ({as_size(plan.store_bytes)} needed, {as_size(room.disk)} free on the disk)"
    ram_bytes = plan.ram_bytes + (0 if is_card else plan.device_bytes)
    if ram_bytes > _SPARE * room.ram:
        yield f"RAM ({as_size(ram_bytes)} needed, {as_size(room.ram)} installed)"
    if is_card and room.card is None:
        yield f"GPU ({as_size(plan.device_bytes)} needed, but there is no GPU)"
    elif is_card and room.card is not None and plan.device_bytes > _SPARE * room.card:
        yield f"GPU ({as_size(plan.device_bytes)} needed, {as_size(room.card)} free)"


def _command(config: VStreamConfig, cameras: Cameras, plan: Plan, room: Room, store: str) -> str:
    """The command that serves these cameras within that room. A store over its budget makes old
    blocks coarser, then sparser, then drops them.
    """
    budget, memory = _OVER * plan.stream_bytes, config.memory
    options = [*([config.model] if config.model else []), "--store", store]
    if store.startswith("file:"):
        budget = min(budget, _SPARE * room.disk / cameras.number)
    if plan.hour_bytes:  # otherwise the policy bounds the store by itself
        budget_mib = ceil(max(budget, plan.least_bytes) / 2**20)
        bound = (tier_of(store).budget or "host_bytes").replace("_", "-")
        options += [f"--{bound}", f"{budget_mib}MiB"]
    options += ["--retain", f"{cameras.days * 24:g}h", "--codec", memory.codec]
    options += ["--host-bytes", f"{round(memory.host_bytes / 2**20)}MiB"]
    if cameras.fps is not None:
        options += ["--fps", f"{cameras.fps:g}"]
    if config.named_policy is not None:
        options += ["--policy", config.named_policy]
    options += [f"--policy-set {name}={value}" for name, value in config.policy_set.items()]
    return f"vstream serve {' '.join(options)}"
