"""restored_prefill: what a memory holds in, the write path that goes on after it out."""

from collections.abc import Sequence

from encoders import TextTokens
from memory import KVMemory, MemoryPolicy, PolicyError
from memory.policy_hooks import StateChange, changed
from vstream.engine.decoder import Decoder
from vstream.engine.infllm import InfllmPrefill
from vstream.engine.prefill import LayerKV, LocalWindow, Prefill
from vstream.engine.rekv import RekvPrefill


def restored_prefill(
    decoder: Decoder,
    prefix: TextTokens,
    memory: KVMemory,
    policy: MemoryPolicy,
    noted: StateChange,
) -> Prefill | RekvPrefill | InfllmPrefill:
    """`noted` is what the write path before it knew and the memory does not. The window leaves
    damaged blocks out. Raises PolicyError, StoreError.
    """
    kept, encoding = memory.visible(None), policy.encoding()
    rekv_tokens = encoding.rekv_window_tokens
    if policy.wants_mass and (rekv_tokens is not None or encoding.infllm is not None):
        raise PolicyError(f"policy {policy.name}: no attention mass by rules of its own")
    if encoding.infllm is not None:
        infllm = InfllmPrefill(decoder, prefix, memory, encoding.infllm)
        near = [one for one in kept if one > memory.head_vectors.newest]
        state = changed(memory.state, noted)
        infllm.restore(near, _read(decoder, memory, near) if near else [], state)
        return infllm
    if rekv_tokens is not None:
        rekv = RekvPrefill(decoder, prefix, rekv_tokens)
        if kept:
            counts = [memory.info(block_id).num_tokens for block_id in kept]
            needed = -(-rekv_tokens // min(counts))
            last = kept[-needed:]
            infos = [memory.info(block_id) for block_id in last]
            rekv.restore(sum(counts), infos, _read(decoder, memory, last))
        return rekv
    window = LocalWindow(encoding.window_blocks, encoding.stride_blocks, encoding.sinks)
    prefill = Prefill(decoder, prefix, window, wants_mass=policy.wants_mass)
    if memory.num_blocks:
        seen = [one for one in kept if one >= prefill.first_needed(memory.num_blocks)]
        infos = [memory.info(block_id) for block_id in seen]
        prefill.restore(memory.num_blocks, seen, infos, _read(decoder, memory, seen))
    return prefill


def _read(decoder: Decoder, memory: KVMemory, ids: Sequence[int]) -> LayerKV:
    """Keys and values of these blocks in all layers, as the codec keeps them."""
    return [
        memory.read(layer, ids, decoder.dtype, decoder.device)
        for layer in range(decoder.num_layers)
    ]
