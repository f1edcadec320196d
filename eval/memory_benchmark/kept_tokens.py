"""KeptTokens: the vision tower's tokens of a stream's blocks on disk, made once and read by all.

A file holds the blocks one after another, each preceded by its length. It gets its name only once
it is complete.
"""

import copy
import struct
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from encoders import Frame
from eval.play.plays import Footage
from memory.token_bytes import tokens_of, tokens_to_bytes
from vstream import VideoLLM

_LENGTH = struct.Struct("<Q")
_BATCH_BLOCKS = 16


class KeptTokens:
    """The tokens of one stream. `cpu_s` is the tower's time, None if they already existed."""

    def __init__(self, path: Path, video: Footage, model: VideoLLM) -> None:
        self.cpu_s: float | None = None
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            partial = path.with_name(f"{path.name}.partial")
            self.cpu_s = _write(partial, video, model)
            partial.replace(path)
        self._data = np.memmap(path, np.uint8, "r")
        self._starts = [0]
        while (at := self._starts[-1]) < len(self._data):
            [length] = _LENGTH.unpack(self._data[at : at + _LENGTH.size].tobytes())
            self._starts.append(at + _LENGTH.size + length)
        self._size = model.family.frames_per_block
        self._model, self._fps = model, model.sample_fps

    @property
    def num_frames(self) -> int:
        """Of whole blocks."""
        return (len(self._starts) - 1) * self._size

    def frames(self, start: int, end: int) -> list[Frame]:
        """Return placeholders for the stream's frames, without pictures."""
        nothing = np.empty((0, 0, 3), np.uint8)
        return [Frame(nothing, number / self._fps, 0.0) for number in range(start, end)]

    def model(self) -> VideoLLM:
        """Return the model with a tower that reads the kept tokens. It takes all of them for its
        world: there are no pictures to look at, and answers would say so.
        """
        family = copy.copy(self._model.family)
        family.recommended = replace(family.recommended, knows=None)
        family.encode = self._encode  # type: ignore[method-assign, assignment]
        return replace(self._model, family=family)

    def _encode(self, groups: Sequence[Sequence[Frame]]) -> list[object]:
        numbers = [round(group[0].stream_s * self._fps) // self._size for group in groups]
        return [tokens_of(self._bytes(number)) for number in numbers]

    def _bytes(self, number: int) -> bytes:
        return self._data[self._starts[number] + _LENGTH.size : self._starts[number + 1]].tobytes()


def _write(path: Path, video: Footage, model: VideoLLM) -> float:
    size, fps, spent_s = model.family.frames_per_block, model.sample_fps, 0.0
    whole = int(video.duration_s * fps) // size * size
    with path.open("wb") as file, model.turn, torch.inference_mode():
        for start in range(0, whole, _BATCH_BLOCKS * size):
            numbers = range(start, min(start + _BATCH_BLOCKS * size, whole))
            frames = video.frames_at([number / fps for number in numbers])
            groups = [frames[at : at + size] for at in range(0, len(frames), size)]
            started = time.process_time()
            seen = model.family.encode(groups)
            spent_s += time.process_time() - started
            for data in map(tokens_to_bytes, seen):
                file.write(_LENGTH.pack(len(data)) + data)
    return spent_s
