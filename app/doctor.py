"""`vstream doctor`: what this machine has, and whether the configured model runs on it."""

import platform
from importlib.metadata import version

import av
import psutil
import torch

from app.model import load_model
from app.terminal import Terminal
from memory import KVMemoryError, store_name, tier_of
from vstream.config import VStreamConfig
from vstream.errors import ModelError


def examine(terminal: Terminal, config: VStreamConfig) -> bool:
    """Print one line a finding; False if something that is needed does not work."""
    model_check = _check_model(terminal, config)  # first: it chooses the number of threads
    memory = psutil.virtual_memory()
    findings = {
        "python": platform.python_version(),
        "torch": f"{torch.__version__}, transformers {version('transformers')}",
        "gpu": _gpu(),
        "cpu": f"{psutil.cpu_count()} cores, load {psutil.getloadavg()[0]:.1f}, "
        f"{torch.get_num_threads()} threads chosen",
        "memory": f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free",
        "ffmpeg": f"PyAV {av.__version__}, libavformat "
        + ".".join(str(part) for part in av.library_versions["libavformat"]),
    }
    for name, finding in findings.items():
        terminal.out.print(f"{name:<8} {finding}", markup=False)
    checks = [_check_store(config), model_check]
    for ok, finding in checks:
        terminal.out.print(f"{'ok      ' if ok else 'FAILED  '} {finding}", markup=False)
    return all(ok for ok, _ in checks)


def _gpu() -> str:
    if not torch.cuda.is_available():
        return "none; the CPU will be used"
    free, total = torch.cuda.mem_get_info()
    name = torch.cuda.get_device_name()
    return f"{name}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free"


def _check_store(config: VStreamConfig) -> tuple[bool, str]:
    store = config.memory.store
    try:
        return True, f"store {tier_of(store).check()}"
    except KVMemoryError as error:
        return False, f"store {store_name(store)}: {error}"


def _check_model(terminal: Terminal, config: VStreamConfig) -> tuple[bool, str]:
    try:
        model = load_model(terminal, config)
    except ModelError as error:
        return False, str(error)
    family = model.family
    found = f"model {model.name} ({family.name}) loads and its decoder is driven exactly"
    if family.recommended.knows is None:
        return True, found
    return True, f"{found}\n         real scenes: no ({family.name} model)"
