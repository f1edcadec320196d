"""ReKV's rules where rotary positions have three axes, and blocks lengths of their own."""

from dataclasses import replace

import pytest
import torch
from engine import all_logits, open_session, stream_frames, tiny_video_llm
from qwen_grids import rope_index
from tiny_models import family_case
from token_family import TokenFamily
from token_ids import ids_of
from video_frames import frames_of, groups_of
from whole_video import features_of_whole_video

from vstream.engine.positions import Rope, lay_out
from vstream.engine.rekv import RekvPrefill, _RekvStep

TOLERANCE = 1e-5
ASKED = "what is on the table?"
GRIDS = 7
EVERYTHING = 10_000


@pytest.fixture(scope="module", params=["qwen2_5_vl", "qwen3_vl"])
def pair(request):
    return tiny_video_llm(request.param)


def difference(ours, theirs):
    return float((ours - theirs).abs().max())


def grids(family, count=GRIDS):
    return family.encode(groups_of(family, frames_of(count * 2, (112, 84))))


@torch.inference_mode()
def plain_logits(name, family, plain, frames):
    """Full attention of the model as transformers made it, over its own features and positions."""
    seen = features_of_whole_video(name, plain, frames)
    blocks = family.encode(groups_of(family, frames))
    shape = torch.tensor([[len(blocks), *[family_case(name).side // patch_of(plain)] * 2]])
    seconds = {} if name == "qwen3_vl" else {"second_per_grid_ts": torch.tensor([2.0])}
    positions, before = rope_index(plain, family, blocks, ASKED, video_grid_thw=shape, **seconds)
    if name == "qwen2_5_vl":  # text goes on behind the video on every axis, as in Qwen2-VL
        positions[:, before:] += positions[:, :before].max() + 1 - positions[:, before : before + 1]
    parts = [one.embeddings for one in (family.prefix(), *blocks, family.question(ASKED))]
    embeddings = torch.cat(parts)
    visual = torch.tensor([one < 0 for one in ids_of(plain, embeddings)])
    embeddings[visual] = torch.cat(list(seen.pooler_output))
    more = {}
    if name == "qwen3_vl":
        features = seen.deepstack_features
        deepstack = [one if torch.is_tensor(one) else one[0] for one in features]
        more = {"visual_pos_masks": visual[None], "deepstack_visual_embeds": deepstack}
    mask = torch.ones(len(visual), len(visual), dtype=torch.bool).tril()[None, None]
    output = plain.get_decoder()(
        inputs_embeds=embeddings[None],
        position_ids=positions[:, None],
        attention_mask=mask,
        use_cache=False,
        **more,
    )
    return plain.get_output_embeddings()(output.last_hidden_state[0])[before:]


def patch_of(model):
    return model.config.vision_config.patch_size


def test_with_room_for_everything_it_is_plain_attention_at_transformers_positions(pair):
    model, plain = pair
    name = model.name
    side = family_case(name).side
    frames = frames_of(GRIDS * 2, (side, side))
    theirs = plain_logits(name, model.family, plain, frames)
    told = {"rekv_window_tokens": EVERYTHING, "retrieve_blocks": 100, "codec": "exact"}
    with open_session(model, **told) as session:
        session.push(frames)
        assert difference(all_logits(session, ASKED), theirs) <= TOLERANCE


@pytest.mark.parametrize("n_local", [5, 23, 64, EVERYTHING])
@torch.inference_mode()
def test_a_stream_gives_the_same_however_it_is_cut(pair, n_local):
    model, _ = pair
    blocks, prefix = grids(model.family), model.family.prefix()
    whole = RekvPrefill(model.decoder, prefix, n_local)
    kept, hidden = whole.encode(blocks)
    for size in (1, 3):
        stream, at = RekvPrefill(model.decoder, prefix, n_local), 0
        for start in range(0, GRIDS, size):
            some, seen = stream.encode(blocks[start : start + size])
            assert difference(seen, hidden[at : at + len(seen)]) <= TOLERANCE
            at += len(seen)
            for one, other in zip(some, kept[start : start + size], strict=True):
                for (keys, values), (other_keys, other_values) in zip(one, other, strict=True):
                    assert difference(keys, other_keys) <= TOLERANCE
                    assert difference(values, other_values) <= TOLERANCE


class ThreeAxes(TokenFamily):
    """Text on three axes that are alike."""

    def _block(self, frame):
        block = super()._block(frame)
        alike = {"positions": block.positions.expand(3, -1), "advance": block.advance.expand(3)}
        return replace(block, **alike)


@pytest.mark.parametrize(("n_local", "retrieve"), [(17, 3), (EVERYTHING, 100)])
@torch.inference_mode()
def test_axes_that_are_alike_are_one_axis(pair, n_local, retrieve):
    """So what is proved of one axis against the official code holds here as well."""
    model, plain = pair
    told = {"rekv_window_tokens": n_local, "retrieve_blocks": retrieve, "codec": "exact"}
    logits = []
    for family, num_axes in ((ThreeAxes, 3), (TokenFamily, 1)):
        model, plain = tiny_video_llm(model.name)
        decoder = model.decoder
        if num_axes == 1:
            alike = torch.zeros_like(decoder.rope.axis_of_frequency)
            decoder.rope, decoder.num_axes = Rope(decoder.rope.inv_freq, alike), 1
        words = plain.config.get_text_config().vocab_size
        reader = replace(model, family=family(decoder.embed, words))
        with open_session(reader, **told) as session:
            session.push(stream_frames(9))
            logits.append(all_logits(session, ASKED))
    assert difference(*logits) <= TOLERANCE


def rotated(rope, x, position):
    """One vector of each head to one place on three axes."""
    return rope.rotate(x[:, None].double(), position[:, None])[:, 0]


def attended(rope, queries, keys, values, positions, sinks, outside, at, n_local, scale):
    """What token `at` sees by the rule, key by key."""
    window = range(max(0, at - n_local + 1), at + 1)
    reach = positions[:, at] - positions[:, window].amin(dim=1) + max(0, n_local - 1 - at)
    here, far = (rotated(rope, queries[:, at], place) for place in (positions[:, at], reach))
    group = len(queries) // len(keys)
    near = [
        (here, rotated(rope, keys[:, one], positions[:, one]), values[:, one]) for one in window
    ]
    away = [(far, sinks[0][:, one].double(), sinks[1][:, one]) for one in range(outside)]
    seen = [(query, *(x.repeat_interleave(group, 0) for x in kv)) for query, *kv in away + near]
    scores = torch.stack([(query * key).sum(dim=1) * scale for query, key, _ in seen])
    said = torch.stack([value.double() for *_, value in seen])
    return (scores.softmax(dim=0)[:, :, None] * said).sum(dim=0)


@pytest.mark.parametrize("n_local", [37, 60])
@torch.inference_mode()
def test_a_token_sees_its_window_and_the_sinks_as_far_as_the_window_reaches(
    pair, n_local, monkeypatch
):
    model, _ = pair
    calls, attend = [], _RekvStep.attend

    def recorded(step, layer, queries, keys, values, scale):
        output = attend(step, layer, queries, keys, values, scale)
        if layer == 1:
            calls.append((queries, keys, values, output, scale))
        return output

    monkeypatch.setattr(_RekvStep, "attend", recorded)
    blocks = grids(model.family)
    stream = RekvPrefill(model.decoder, model.family.prefix(), n_local)
    stream.encode(blocks[:4])
    stream.encode(blocks[4:])
    *parts, scales = zip(*calls, strict=True)
    queries, keys, values, outputs = (torch.cat(part, dim=1) for part in parts)
    prefix = stream.prefix[1][0].shape[1]
    positions, _ = lay_out(prefix, blocks, 3)
    end, ends = prefix, []
    for block in blocks:
        end += len(block.embeddings)
        ends += [end] * len(block.embeddings)
    assert end > n_local + prefix, "the sinks have left the window"
    for at in range(prefix, end, 3):
        outside = min(prefix, max(0, ends[at - prefix] - n_local))
        seen = keys, values, positions, stream.prefix[1], outside
        wanted = attended(model.decoder.rope, queries, *seen, at, n_local, scales[0])
        assert difference(outputs[:, at], wanted) <= TOLERANCE


def test_blocks_may_differ_in_length(pair):
    assert len({len(one.embeddings) for one in grids(pair[0].family, 8)}) == (
        2 if pair[0].name == "qwen3_vl" else 1
    )
