"""streaming_llm is the paper's rule, token by token, where a block is one token."""

from dataclasses import replace

import pytest
import torch
from engine import all_logits, open_session, stream_frames, tiny_video_llm
from hypothesis import given
from hypothesis import strategies as st
from official_fixture import cases_of
from token_family import TokenFamily
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb, repeat_kv

from memory import PolicyError
from vstream.engine import LocalWindow

TOLERANCE = 1e-5
ASKED = "what did you see?"


class Cache:
    """StreamingLLM (arXiv 2309.17453, section 3.2) by its words, over a Llama of transformers.

    Keys are kept unrotated; the position of a token is its place in the cache, and the newest
    stands at its end. What leaves makes room for the token that comes.
    """

    def __init__(self, model, sinks, recent):
        self.model, self.sinks, self.recent = model, sinks, recent
        self.kv = [(None, None) for _ in model.model.layers]

    @torch.inference_mode()
    def read(self, embeddings, evicts=True):
        """The logits of each token."""
        return torch.cat([self._read(one[None, None], evicts) for one in embeddings])

    def _read(self, hidden, evicts):
        for number, layer in enumerate(self.model.model.layers):
            if evicts:
                self.kv[number] = tuple(self._evicted(one) for one in self.kv[number])
            normed = layer.input_layernorm(hidden)
            hidden = hidden + self._attend(number, layer.self_attn, normed)
            hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
        return self.model.lm_head(self.model.model.norm(hidden))[0]

    def _evicted(self, kept):
        if kept is None or kept.shape[2] + 1 <= self.sinks + self.recent:
            return kept
        newest = kept.shape[2] - (self.recent - 1)
        return torch.cat([kept[:, :, : self.sinks], kept[:, :, newest:]], dim=2)

    def _attend(self, number, attention, normed):
        projections = attention.q_proj, attention.k_proj, attention.v_proj
        query, *new = (
            made(normed).view(1, 1, -1, attention.head_dim).transpose(1, 2) for made in projections
        )
        keys, values = (
            one if old is None else torch.cat([old, one], dim=2)
            for old, one in zip(self.kv[number], new, strict=True)
        )
        self.kv[number] = keys, values
        cos, sin = self.model.model.rotary_emb(normed, torch.arange(keys.shape[2])[None])
        query, _ = apply_rotary_pos_emb(query, query, cos[:, -1:], sin[:, -1:])
        _, keys = apply_rotary_pos_emb(keys, keys, cos, sin)
        keys, values = (repeat_kv(one, attention.num_key_value_groups) for one in (keys, values))
        weights = (query @ keys.transpose(2, 3) * attention.scaling).softmax(dim=-1)
        return attention.o_proj((weights @ values).transpose(1, 2).reshape(1, 1, -1))


@pytest.fixture(scope="module")
def models():
    model, plain = tiny_video_llm("llama")
    family = TokenFamily(model.decoder.embed, plain.config.vocab_size, tokens_per_frame=1)
    return replace(model, family=family), plain.eval()


@pytest.mark.parametrize("sinks", [None, 4, 1, 0])
def test_a_block_of_one_token_is_a_token_of_the_paper(models, sinks):
    model, plain = models
    recent, family = 20, model.family
    prefix, text = family.prefix().embeddings, family.question(ASKED).embeddings
    told = {"policy": "streaming_llm", "frames": recent, "sinks": sinks}
    cache = Cache(plain, len(prefix) if sinks is None else sinks, recent)
    cache.read(prefix)
    with open_session(model, codec="exact", max_answer_tokens=4, **told) as session:
        for number, frame in enumerate(stream_frames(70)):
            session.push([frame])
            cache.read(family.encode([[frame]])[0].embeddings)
            for layer, (keys, values) in enumerate(cache.kv):
                ours = session.memory.read(layer, [number], torch.float32, torch.device("cpu"))
                for mine, theirs in zip(ours, (keys, values), strict=True):
                    assert (mine[:, 0] - theirs[0, :, -1]).abs().max() <= TOLERANCE
            if number % 8 == 0 or number == recent:
                asked = Cache(plain, cache.sinks, recent)
                asked.kv = list(cache.kv)
                theirs = asked.read(text, evicts=False)[-1]
                assert (all_logits(session, ASKED)[-1] - theirs).abs().max() <= TOLERANCE


@pytest.mark.parametrize("case", cases_of("sirllm")["streaming_llm"], ids=str)
def test_the_newest_of_some_tokens_sees_what_the_official_code_keeps(case):
    window, before = LocalWindow(case["recent"], 1), -case["start"]
    for step in case["steps"]:
        newest = before + step["coming"] - 1
        first = window.left_edge(newest) if newest >= 0 else 0
        seen = {*range(-case["start"], min(0, before)), *range(first, before)}
        assert [one + case["start"] for one in sorted(seen)] == step["kept"]
        before += step["coming"]


@given(st.integers(1, 30), st.integers(0, 9), st.integers(0, 60))
def test_the_prefix_but_for_its_sinks_leaves_before_the_first_block(size, sinks, block):
    prefix = [(torch.arange(9)[None, :, None],) * 2]
    window = LocalWindow(size, 1, sinks)
    [(seen, _)] = window.prefix_of(block, prefix)
    blocks = block + 1 - window.left_edge(block)
    others = seen.flatten().tolist()[sinks:]
    assert seen.flatten().tolist()[:sinks] == list(range(sinks))
    assert others == list(range(9 - len(others), 9))
    assert len(others) == min(9 - sinks, size - blocks)


def test_more_sinks_than_the_prefix_has_tokens_are_refused(models):
    with pytest.raises(PolicyError, match="sinks = 6, but this model's prefix has only 5 tokens"):
        open_session(models[0], policy="streaming_llm", frames=4, sinks=6)
