"""Load the configured model, and print in one line what it is and where it runs."""

import torch

from app.terminal import Terminal
from vstream.config import VStreamConfig
from vstream.device.cpu_threads import choose_cpu_threads
from vstream.models.video_llm import VideoLLM, load_video_llm


def load_model(terminal: Terminal, config: VStreamConfig) -> VideoLLM:
    """Load the model behind a progress bar. Raises ModelError for an unusable checkpoint."""
    limit_threads(config)
    fps = config.source.sample_fps
    with terminal.loading(f"loading model {config.model or 'embedded'}"):
        model = load_video_llm(config.model, config.device, config.dtype, fps)
    decoder = model.decoder
    packed = f" beside {decoder.quantised_by} weights" if decoder.quantised_by else ""
    kind = str(decoder.dtype).removeprefix("torch.") + packed
    threads = f", {torch.get_num_threads()} threads" if decoder.device.type == "cpu" else ""
    knows = model.family.recommended.knows
    limits = "" if knows is None else f"; knows {knows}"
    terminal.say(f"model {model.name} on {decoder.device}, {kind}{threads}{limits}")
    return model


def limit_threads(config: VStreamConfig) -> None:
    if config.threads is None:
        choose_cpu_threads()
    else:
        torch.set_num_threads(config.threads)
