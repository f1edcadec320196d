"""`vstream doctor`: report what this machine has, and whether the configured model runs on it."""

import platform
from importlib.metadata import version
from typing import TYPE_CHECKING

import psutil

from app.terminal import Terminal

if TYPE_CHECKING:
    from vstream.config import VStreamConfig


def examine(terminal: Terminal, config: "VStreamConfig") -> bool:
    """Print one line per finding, quick ones first; return False if something needed is broken."""

    def say(name: str, finding: str) -> None:
        terminal.out.print(f"{name:<8} {finding}", markup=False)

    memory = psutil.virtual_memory()
    say("python", platform.python_version())
    say("cpu", f"{psutil.cpu_count()} cores, load {psutil.getloadavg()[0]:.1f}")
    say("memory", f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free")
    say("ffmpeg", _ffmpeg())
    say("torch", f"{version('torch')}, transformers {version('transformers')}")
    say("gpu", _gpu())
    is_well = True
    for check in (_check_store, _check_model):
        ok, finding = check(terminal, config)
        say("ok" if ok else "FAILED", finding)
        is_well &= ok
    return is_well


def _ffmpeg() -> str:
    import av

    libavformat = ".".join(str(part) for part in av.library_versions["libavformat"])
    return f"PyAV {av.__version__}, libavformat {libavformat}"


def _gpu() -> str:
    import torch

    if not torch.cuda.is_available():
        return "none; the CPU will be used"
    free, total = torch.cuda.mem_get_info()
    name = torch.cuda.get_device_name()
    return f"{name}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free"


def _check_store(_: Terminal, config: "VStreamConfig") -> tuple[bool, str]:
    from memory import KVMemoryError, store_name, tier_of

    store = config.memory.store
    try:
        return True, f"store {tier_of(store).check()}"
    except KVMemoryError as error:
        return False, f"store {store_name(store)}: {error}"


def _check_model(terminal: Terminal, config: "VStreamConfig") -> tuple[bool, str]:
    import torch

    from app.model import load_model
    from app.real_model import real_model
    from vstream.errors import ModelError

    try:
        model = load_model(terminal, config)
    except ModelError as error:
        return False, str(error)
    family = model.family
    found = (
        f"model {model.name} ({family.name}) loads and its decoder passes the exactness check, "
        f"with {torch.get_num_threads()} threads"
    )
    if family.recommended.knows is None:
        return True, found
    lines = [found, f"real scenes: no ({family.name} model); its answers say so"]
    return True, "\n         ".join([*lines, *filter(None, [real_model()])])
