"""`vstream doctor`: what this machine has, and whether the configured model runs on it."""

import platform
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import unquote, urlsplit

import av
import psutil
import torch

from app.model import load_model
from app.terminal import Terminal
from memory import KVMemoryError, RedisLink, is_redis, open_memory
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
    """Open a stream in an empty folder inside the store's folder, and leave nothing behind."""
    store = config.memory.store
    try:
        if is_redis(store):
            link = RedisLink(store)
            try:
                return True, f"store {link.name}: {link.described()}"
            finally:
                link.close()
        if not store.startswith("file:///"):
            open_memory(config.memory, "doctor", "doctor", 1, 1, 2, torch.device("cpu")).close()
            return True, f"store {store}"
        folder = Path(unquote(urlsplit(store).path))
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder, prefix=".doctor-") as probe:
            inside = config.memory.model_copy(update={"store": Path(probe).as_uri()})
            open_memory(inside, "doctor", "doctor", 1, 1, 2, torch.device("cpu")).close()
    except (KVMemoryError, OSError) as error:
        return False, str(error) if is_redis(store) else f"store {store}: {error}"
    return True, f"store {store} can be written"


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
