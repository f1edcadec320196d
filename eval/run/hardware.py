"""Hardware: this machine in; its processor, memory, device and torch's threads out."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch


@dataclass(frozen=True)
class Hardware:
    """`cores` are those this process may use; `device` is the graphics card's name, if there is."""

    cpu: str
    cores: int
    ram_bytes: int
    device: str | None
    num_devices: int
    torch_threads: int

    @classmethod
    def here(cls) -> "Hardware":
        num_devices = torch.cuda.device_count()
        return cls(
            cpu=_cpu_model(),
            cores=_cores(),
            ram_bytes=psutil.virtual_memory().total,
            device=torch.cuda.get_device_name(0) if num_devices else None,
            num_devices=num_devices,
            torch_threads=torch.get_num_threads(),
        )

    def __str__(self) -> str:
        device = f"{self.num_devices} x {self.device}" if self.device else "no GPU"
        return (
            f"{self.cpu}, {self.cores} cores, {self.ram_bytes / 2**30:.0f} GiB, {device}, "
            f"{self.torch_threads} torch threads"
        )


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu_model() -> str:
    """As Linux names it; elsewhere what Python knows."""
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        for line in listing.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
