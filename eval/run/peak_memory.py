"""PeakMemory: measures the peak of memory in use within a context.

On a CUDA device it is what torch had allocated there. Otherwise it is the resident set of the whole
process, whose peak Linux can reset (proc(5), clear_refs); other systems cannot and report none.
Earlier work in the process leaves memory behind. Given what the process held at first, with its
model loaded, the peak is that plus what was added within.
"""

from pathlib import Path
from typing import Self

import psutil
import torch

from vstream.device.free_memory import return_free_memory

ON_DEVICE = "device memory"
OF_PROCESS = "RSS"
_CLEAR = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


class PeakMemory:
    """A context; `num_bytes` is set at its end. One at a time in a process."""

    num_bytes: int | None = None

    def __init__(self, device: torch.device, at_first_bytes: int | None = None) -> None:
        self._device = device
        self._at_first_bytes = at_first_bytes
        self.of = ON_DEVICE if device.type == "cuda" else OF_PROCESS

    def __enter__(self) -> Self:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        else:
            return_free_memory()  # exclude earlier work
            self._is_reset = True
            try:
                _CLEAR.write_text("5")
            except OSError:
                self._is_reset = False
            self._before_bytes = resident_bytes()
        return self

    def __exit__(self, *_: object) -> None:
        if self._device.type == "cuda":
            self.num_bytes = torch.cuda.max_memory_allocated(self._device)
        elif self._is_reset:
            lines = _STATUS.read_text().splitlines()
            (line,) = (line for line in lines if line.startswith("VmHWM:"))
            peak_bytes = int(line.split()[1]) * 1024
            if self._at_first_bytes is not None:
                peak_bytes += self._at_first_bytes - self._before_bytes
            self.num_bytes = peak_bytes


def resident_bytes() -> int:
    return int(psutil.Process().memory_info().rss)
