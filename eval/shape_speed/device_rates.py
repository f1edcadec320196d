"""DeviceRates: a device in, how fast it multiplies and moves numbers out, measured."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

_ROUNDS = 7


@dataclass(frozen=True)
class DeviceRates:
    """What a floor is computed from. `host_gb_s`: pinned host RAM to card; None without a card."""

    matmul_tflop_s: float
    copy_gb_s: float
    """Bytes read and bytes written on the device, together."""
    read_gb_s: float
    """Bytes read, and nothing written."""
    host_gb_s: float | None

    @property
    def move_gb_s(self) -> float:
        """The faster of the two: a CPU reads what it is about to overwrite."""
        return max(self.copy_gb_s, self.read_gb_s)


def measure_rates(device: torch.device, dtype: torch.dtype) -> DeviceRates:
    """Medians of a few rounds, of sizes that no cache holds."""
    is_card = device.type == "cuda"
    side = 8192 if is_card else 2048
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    matmul_s = timed_s(lambda: left @ right, device)
    source = torch.ones((1 if is_card else 4) * 2**28, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    several = 16 if is_card else 1  # what it takes to begin and to wait is no part of a rate
    copy_s = timed_s(lambda: [target.copy_(source) for _ in range(several)], device) / several
    numbers = source.view(torch.int64)
    read_s = timed_s(lambda: [numbers.sum() for _ in range(several)], device) / several
    host_gb_s = None
    if is_card:
        pinned = torch.ones(2**28, dtype=torch.uint8).pin_memory()
        host_s = timed_s(lambda: target[: len(pinned)].copy_(pinned, non_blocking=True), device)
        host_gb_s = round(len(pinned) / host_s / 1e9, 2)
    return DeviceRates(
        matmul_tflop_s=round(2 * side**3 / matmul_s / 1e12, 3),
        copy_gb_s=round(2 * source.numel() / copy_s / 1e9, 2),
        read_gb_s=round(source.numel() / read_s / 1e9, 2),
        host_gb_s=host_gb_s,
    )


def timed_s(work: Callable[[], object], device: torch.device, rounds: int = _ROUNDS) -> float:
    """The median time of `work` until the device is done with it; the first time is not counted."""
    times = []
    for _ in range(rounds + 1):
        wait_for(device)
        started = time.perf_counter()
        work()
        wait_for(device)
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


def wait_for(device: torch.device) -> None:
    """Return when the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
