"""Tiny models behind the engine, and streams of frames to feed them."""

import copy
import functools

import numpy as np
import torch
from tiny_checkpoints import TEXT_MODELS, VIDEO_FAMILIES, tiny_family, tiny_model
from token_family import TokenFamily

from encoders import Frame
from memory import MemoryConfig, open_memory
from vstream.engine.decoder import Decoder
from vstream.device_turn import DeviceTurn
from vstream.engine.config import EngineConfig
from vstream.session import Session
from vstream.video_llm import VideoLLM

FAMILIES = [*TEXT_MODELS, *VIDEO_FAMILIES]
