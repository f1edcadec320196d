"""The subjects of measurements: a ready model, frames of a made-up stream, sessions over it."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count, islice
from typing import TYPE_CHECKING, Annotated
from uuid import uuid4

import numpy as np
import psutil
import torch
import typer
from PIL import Image

from encoders import Frame
from eval.command_line import use_threads
from eval.random_model import SHAPES, random_family, random_model, random_video_llm, require_shape
from eval.run.run_directory import hardware
from eval.speed.figures import Row
from eval.stream_world import Renderer, write_script
from memory import BlockStore, KeepPolicy, KVMemory, Provenance
from vstream import Session, VideoLLM, VStreamConfig, load_config, load_video_llm, open_session
from vstream.device.scheduler import Scheduler
from vstream.models.video_llm import device_and_dtype
from vstream.open_readers import with_host_bytes
from vstream.policy import policy_for

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_NAMES = ", ".join(SHAPES)
ShapeName = Annotated[
    str | None, typer.Option("--shape", help=f"Not the configured model, but one of {_NAMES}.")
]
RandomWeights = Annotated[
    bool, typer.Option("--random-weights", help="What a shape has: none is downloaded.")
]
CAMERA_PX = (1920, 1080)
"""Width and height of a camera's frames; every family has to shrink them."""
_FRAME_PX = 384
_POOL = 300
"""Distinct frames; a longer history repeats them with advancing times."""
_CAMERA_POOL = 32
"""Of frames of CAMERA_PX, which take 6 MB each."""


def ready_model(shape: str | None = None, has_random_weights: bool = False) -> VideoLLM:
    """Return the configured model with the best number of threads, or one of a published shape."""
    if shape is not None:
        weights = weights_of(shape, has_random_weights)
        return random_video_llm(shape, weights, random_family(shape, weights))
    config = load_config()
    use_threads(config.threads)
    return load_video_llm(config.model, config.device, config.dtype, config.source.sample_fps)


def weights_of(shape: str, is_said: bool) -> "PreTrainedModel":
    """Return weights on the configured device. Raises SettingsError unless declared random."""
    require_shape(shape, is_said)
    config = load_config()
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    return random_model(shape, *device_and_dtype(config.device, config.dtype))


def roomy_config() -> VStreamConfig:
    """Allow at least half of the free host RAM, so that blocks of a large model do not age."""
    config = load_config()
    free = psutil.virtual_memory().available // 2
    return with_host_bytes(config, max(config.memory.host_bytes, free))


def endless_frames(fps: float, is_camera: bool = False) -> Iterator[Frame]:
    """Yield frames of a made-up stream at `fps` of stream time; camera-sized if wanted."""
    renderer = Renderer(_FRAME_PX)
    script = write_script(7, _CAMERA_POOL if is_camera else _POOL)
    pictures = [renderer.frame(moment) for moment in script.moments]
    if is_camera:
        pictures = [np.asarray(Image.fromarray(one).resize(CAMERA_PX)) for one in pictures]
    for number in count():
        yield Frame(pictures[number % len(pictures)], number / fps, time.time())


def here(model: VideoLLM) -> Row:
    decoder, machine = model.decoder, hardware()
    return {
        "model": model.name,
        "device": machine["device" if decoder.device.type == "cuda" else "cpu"],
        "dtype": str(decoder.dtype).removeprefix("torch."),
        "threads": machine["torch_threads"],
        "load_average": os.getloadavg()[0],
    }


@contextmanager
def passing_session(config: VStreamConfig, model: VideoLLM) -> Iterator[Session]:
    """Open a new stream in the configured store, and erase it afterwards."""
    session = open_session(config, model, f"measured-{uuid4().hex[:12]}")
    try:
        yield session
    finally:
        session.memory.erase()


def session_in(store: BlockStore, config: VStreamConfig, model: VideoLLM) -> Session:
    decoder = model.decoder
    make = Provenance(model.fingerprint, decoder.num_layers, decoder.kv_heads, decoder.head_dim)
    memory = KVMemory(make, decoder.device, store, KeepPolicy(config.memory.codec))
    return Session(model, memory, policy_for(config, model), config.engine)


def ingest(session: Session, frames: Iterator[Frame], num_frames: int) -> tuple[float, Row]:
    """Push frames; return seconds a frame, and by stage milliseconds a frame, which may overlap."""
    device, before = session.model.decoder.device, dict(session.clock.seconds)
    later = list(islice(frames, num_frames))
    passed_s = device_s(lambda: session.push(later), device)
    stages_s = since(session.clock.seconds, before)
    return passed_s / num_frames, {
        f"{name}_ms": 1000 * stage_s / num_frames for name, stage_s in stages_s.items()
    }


def since(now: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    return {name: value - before.get(name, 0.0) for name, value in now.items()}


def spent_s(act: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    started = clock()
    act()
    return clock() - started


def device_s(act: Callable[[], object], device: torch.device) -> float:
    """Return the seconds until the device has finished what `act` gave it."""
    if device.type != "cuda":
        return spent_s(act)
    torch.cuda.synchronize(device)
    started = time.perf_counter()
    act()
    torch.cuda.synchronize(device)
    return time.perf_counter() - started


@contextmanager
def busy_share(scheduler: Scheduler) -> Iterator[Callable[[], float]]:
    """Give a function for the share of the time since entering, 0 to 1, in which scheduler rounds
    ran. If nothing is read back, a card may still compute when a round ends.
    """
    listener, rounds_s, began = scheduler.on_round, [0.0], time.perf_counter()
    scheduler.on_round = lambda done: rounds_s.append(done.seconds)
    try:
        yield lambda: min(1.0, sum(rounds_s) / (time.perf_counter() - began))
    finally:
        scheduler.on_round = listener
