"""costs: what ingest spends in the vision tower and in the decoder, measured and counted.

It says how much of ingest running fewer layers of the decoder saves at most.
"""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch

from encoders import Frame
from eval.random_model import SHAPES
from eval.result_table import ResultTable
from eval.stream_world import WORLD_PX, Renderer, Script
from vstream import VideoLLM
from vstream.engine.decoder import Decoder
from vstream.engine.prefill import LocalWindow, Prefill
from vstream.models.weights import embedded_weights

_CHUNK, _CHUNKS = 8, 12


@contextmanager
def first_layers(decoder: Decoder, count: int) -> Iterator[None]:
    """The decoder ends behind so many layers."""
    body: Any = decoder._decoder
    whole = body.layers
    body.layers = whole[:count]
    try:
        yield
    finally:
        body.layers = whole


def ingest_ms(model: VideoLLM, script: Script, aux: Sequence[int]) -> list[float]:
    """Processor time a frame: of the tower, then of the decoder's prefill with so many layers."""
    renderer, decoder = Renderer(WORLD_PX), model.decoder
    moments = script.moments[: _CHUNK * _CHUNKS]
    frames = [Frame(renderer.frame(one), float(one.time_s), 0.0) for one in moments]
    chunks = [frames[at : at + _CHUNK] for at in range(0, len(frames), _CHUNK)]
    wanted = model.family.recommended
    window = LocalWindow(wanted.window_frames, wanted.window_stride)
    spent: list[list[float]] = [[] for _ in range(1 + len(aux))]
    prefills = []
    for count in aux:
        with first_layers(decoder, count):
            prefills.append(Prefill(decoder, model.family.prefix(), window))
    for chunk in chunks:
        began = time.process_time()
        with torch.inference_mode():
            tokens = model.family.encode([[frame] for frame in chunk])
        spent[0].append(time.process_time() - began)
        for place, (count, prefill) in enumerate(zip(aux, prefills, strict=True), start=1):
            with first_layers(decoder, count):
                began = time.process_time()
                prefill.encode(tokens)
                spent[place].append(time.process_time() - began)
    return [1000 * median(one) / _CHUNK for one in spent]


@dataclass(frozen=True)
class Flops:
    """GFLOPs a frame, counted: of the tower, and of one layer of the decoder.

    Two a weight and token, and four a key, query, head and channel of it; patches, connector and
    projector are left out.
    """

    tower: float
    layer: float
    layers: int

    @classmethod
    def of(cls, config: dict[str, Any], tokens: int, seen_tokens: float) -> "Flops":
        """Of frames of so many tokens, each of which sees so many."""
        tower, text = config["vision_config"], config["text_config"]
        width, patches = tower["hidden_size"], (tower["image_size"] // tower["patch_size"]) ** 2
        weights = 4 * width**2 + 2 * width * tower["intermediate_size"]
        looked = tower["num_hidden_layers"] * patches * (2 * weights + 4 * width * patches)
        width, heads = text["hidden_size"], text["num_attention_heads"]
        dims = heads * text.get("head_dim", width // heads)
        kv_dims = dims * text["num_key_value_heads"] // heads
        weights = 2 * width * (dims + kv_dims) + 3 * width * text["intermediate_size"]
        layer = tokens * (2 * weights + 4 * dims * seen_tokens)
        return cls(looked / 1e9, layer / 1e9, text["num_hidden_layers"])

    def cells(self) -> tuple[str, ...]:
        decoder = self.layers * self.layer
        whole = self.tower + decoder
        quarters = (1 - (self.tower + decoder * part / 4) / whole for part in (3, 2, 1))
        shown = (f"{100 * part:.0f} %" for part in (decoder / whole, *quarters))
        return f"{self.tower:.3g}", f"{decoder:.3g}", *shown


def costs(model: VideoLLM, script: Script) -> list[ResultTable]:
    """Of ingest, measured for this model and counted for it and for a large one."""
    layers = model.decoder.num_layers
    sizes = [layers, layers * 3 // 4, layers // 2, layers // 4]
    tower, *prefills = ingest_ms(model, script, sizes)
    whole = tower + prefills[0]
    saved = (f"{100 * (prefills[0] - one) / whole:.0f} %" for one in prefills[1:])
    columns = ("a frame", "tower", "decoder", "its share", "saved by 3/4", "by 1/2", "by 1/4")
    shown = f"{tower:.2f}", f"{prefills[0]:.2f}", f"{100 * prefills[0] / whole:.0f} %", *saved
    config = json.loads((embedded_weights() / "config.json").read_text("utf-8"))
    small = Flops.of(config, 12, 12 * (16 - 4))
    large = Flops.of(SHAPES["llava-onevision-7b"], 196, 196 * (64 - 8))
    rows = (
        ("embedded, ms of processor", *shown),
        ("embedded, GFLOPs", *small.cells()),
        ("LLaVA-OneVision-7B, GFLOPs", *large.cells()),
    )
    return [ResultTable("Ingest, and what running fewer layers saves of it", columns, rows)]
