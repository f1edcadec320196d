import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from kv_blocks import kv_block

from memory import BlockRejectedError, Provenance, RowForm, RowLayout, StoreError, codec_named
from memory.codecs.codec import CODECS
from memory.rows.row_stage import decoded

NAMES = CODECS.names()
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def layout_of(keys):
    return RowLayout.of(keys)


def there_and_back(name, keys, values, dtype=torch.float32):
    """Encode, then decode every layer: [layers, kv_heads, tokens, head_dim] twice."""
    codec, layout = codec_named(name), layout_of(keys)
    rows = codec.encode(keys, values)
    assert rows.dtype == torch.uint8
    assert rows.shape == (keys.shape[0], codec.row_bytes(layout))
    layers = [codec.decode(row[None], layout, dtype) for row in rows]
    return tuple(torch.stack(part) for part in zip(*layers, strict=True))


def with_key_outliers(keys, generator):
    """Give 6 channels a bias of 20 to 80, as the key projection of Qwen2 has."""
    keys = keys.clone()
    layers, heads, _, head_dim = keys.shape
    channels = torch.randperm(head_dim, generator=generator)[:6]
    bias = torch.empty(layers, heads, 1, 6).uniform_(20, 80, generator=generator)
    keys[..., channels] += bias
    return keys, channels


def attention_error(name, with_outliers):
    """Relative error of the attention output over eight retrieved blocks of 49 tokens."""
    generator = torch.Generator().manual_seed(5)
    keys, values = torch.randn(2, 8, 4, 49, 64, generator=generator)
    query = torch.randn(4, 32, 64, generator=generator)
    if with_outliers:
        keys, channels = with_key_outliers(keys, generator)
        query[..., channels] *= 0.1
    got_keys, got_values = there_and_back(name, keys, values)

    def attend(keys, values):
        keys, values = (part.transpose(0, 1).flatten(1, 2) for part in (keys, values))
        return torch.softmax(query @ keys.mT / 8, dim=-1) @ values

    wanted = attend(keys, values)
    return ((attend(got_keys, got_values) - wanted).norm() / wanted.norm()).item()


@pytest.mark.parametrize("with_outliers", [False, True])
@pytest.mark.parametrize(
    ("name", "bound"),
    [("int8", 0.012), ("int4", 0.15), ("fp4", 0.2), ("int2", 0.7), ("bf16", 0.012), ("exact", 0.0)],
)
def test_attention_output_keeps_the_accuracy_of_its_codec(name, bound, with_outliers):
    assert attention_error(name, with_outliers) <= bound


def test_keys_with_large_biases_are_more_accurate_in_int8_than_in_bf16():
    block = kv_block(tokens=49)
    keys, _ = with_key_outliers(block.keys, torch.Generator().manual_seed(0))
    int8, _ = there_and_back("int8", keys, block.values)
    bf16, _ = there_and_back("bf16", keys, block.values)
    assert (int8 - keys).abs().max() < (bf16 - keys).abs().max() / 4


@given(
    shape=st.tuples(
        st.integers(1, 3), st.integers(1, 3), st.integers(1, 70), st.sampled_from([2, 7, 32, 40])
    ),
    magnitude=st.sampled_from([0.0, 1e-6, 1.0, 1e4]),
    offset=st.sampled_from([0.0, -3.0, 79.3, 2e4]),
    seed=st.integers(0, 99),
    bits=st.sampled_from([8, 4, 2]),
)
def test_integer_codes_are_within_a_step_of_the_group_they_share(
    shape, magnitude, offset, seed, bits
):
    generator = torch.Generator().manual_seed(seed)
    keys, values = torch.randn(2, *shape, generator=generator) * magnitude + offset
    got_keys, got_values = there_and_back(f"int{bits}", keys, values)
    of_values = 4 + codec_named(f"int{bits}")._groups(layout_of(keys))[1].axis
    for got, wanted, dim in ((got_keys, keys, 2), (got_values, values, of_values)):
        spread = wanted.amax(dim, keepdim=True) - wanted.amin(dim, keepdim=True)
        float16_rounding = wanted.abs().amax() * 2**-11 + 2**-24
        half_step = (spread / 2 + float16_rounding) / (2**bits - 1) * 1.01
        float32_rounding = wanted.abs().amax() * 2**-21 + 2**-24
        assert ((got - wanted).abs() <= half_step + float32_rounding).all()


GRID = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.5, -1, -1.5, -2, -3, -4, -6])


@given(
    exponent=st.integers(-12, 8), zero=st.sampled_from([0.0, -3.0, 24.0]), seed=st.integers(0, 99)
)
def test_fp4_gives_back_what_e2m1_can_hold(exponent, zero, seed):
    """Each group has both ends, so that its zero lies where it was put."""
    generator = torch.Generator().manual_seed(seed)
    drawn = GRID[torch.randint(0, len(GRID), (2, 2, 2, 15, 32), generator=generator)]
    keys, values = drawn
    keys[:, :, 3], keys[:, :, 7] = 6, -6
    values[..., 5], values[..., 20] = -6, 6
    keys, values = (part * 2.0**exponent + zero * (exponent > -4) for part in (keys, values))
    got_keys, got_values = there_and_back("fp4", keys, values)
    assert torch.equal(got_keys, keys)
    assert torch.equal(got_values, values)


@given(
    tokens=st.integers(1, 40),
    magnitude=st.sampled_from([1e-3, 1.0, 1e3]),
    offset=st.sampled_from([0.0, -3.0, 500.0]),
    seed=st.integers(0, 99),
)
def test_fp4_is_within_half_of_its_largest_step_and_finer_near_zero(
    tokens, magnitude, offset, seed
):
    generator = torch.Generator().manual_seed(seed)
    keys, values = torch.randn(2, 2, 2, tokens, 32, generator=generator) * magnitude + offset
    got_keys, got_values = there_and_back("fp4", keys, values)
    for got, wanted, dim in ((got_keys, keys, 2), (got_values, values, 3)):
        low, high = wanted.amin(dim, keepdim=True), wanted.amax(dim, keepdim=True)
        rounding = wanted.abs().amax() * 2**-10 + 2**-22
        reach = (high - low) / 2 + rounding
        from_zero, error = (wanted - (low + high) / 2).abs(), (got - wanted).abs()
        assert (error <= reach * 1.15 / 6 + rounding).all()  # between 4 and 6, or cut off there
        small = from_zero <= reach * 0.88 / 6 * 2
        assert (error <= reach * 1.15 / 6 / 4 + rounding)[small].all()


def test_the_searched_scale_of_fp4_is_no_worse_than_that_of_the_largest_number():
    keys, values = torch.randn(2, 3, 4, 12, 32, generator=torch.Generator().manual_seed(1))
    errors = []
    for shares in ((1.0,), None):
        with pytest.MonkeyPatch.context() as patch:
            if shares:
                patch.setattr("memory.codecs.fp4._SHARES", shares)
            got = there_and_back("fp4", keys, values)
        errors.append([((a - b) ** 2).sum() for a, b in zip(got, (keys, values), strict=True)])
    assert all(searched < plain for plain, searched in zip(*errors, strict=True))


@pytest.mark.parametrize("name", ["int4", "int2"])
def test_rows_whose_values_share_scales_by_the_token_are_read_as_well(name):
    """So were those of large blocks before format version 3; both are read together."""
    block = kv_block(tokens=49, kv_heads=2, head_dim=64)
    codec, layout = codec_named(name), layout_of(block.keys)
    before = type("Before", (type(codec),), {"values_by_channel": False})()
    old, new = (one.encode(block.keys, block.values)[:1] for one in (before, codec))
    assert new.shape[1] == codec.row_bytes(layout) < old.shape[1] == before.row_bytes(layout)
    wanted = [
        one.decode(row, layout, torch.float32)
        for one, row in ((before, old), (codec, new), (before, old))
    ]
    assert not torch.equal(wanted[0][1], wanted[1][1])
    rows, form = [row.numpy().tobytes() for row in (old, new, old)], RowForm(name, layout)
    make = Provenance("model-a", 1, 2, 64)
    got = decoded(rows, [form] * 3, make, torch.float32, torch.device("cpu"))
    for part, of_rows in zip(got, zip(*wanted, strict=True), strict=True):
        assert torch.equal(part, torch.cat(of_rows, dim=1))


@given(
    dtype=st.sampled_from(DTYPES),
    tokens=st.integers(1, 9),
    bits=st.lists(st.integers(0, 2**16 - 1), min_size=1, max_size=40),
)
def test_exact_gives_back_every_bit(dtype, tokens, bits):
    raw = torch.tensor(bits, dtype=torch.int32).to(torch.uint16)
    numbers = raw.view(torch.bfloat16 if dtype == torch.bfloat16 else torch.float16)
    numbers = torch.where(numbers.isfinite(), numbers, torch.zeros_like(numbers)).to(dtype)
    keys = numbers.repeat(2 * tokens * 4)[: 2 * tokens * 4].view(1, 2, tokens, 4)
    values = -keys.flip(2)
    got_keys, got_values = there_and_back("exact", keys, values, dtype)
    as_bytes = [part.contiguous().view(torch.uint8) for part in (got_keys, keys)]
    assert torch.equal(*as_bytes)
    as_bytes = [part.contiguous().view(torch.uint8) for part in (got_values, values)]
    assert torch.equal(*as_bytes)


def test_bf16_gives_back_what_bf16_can_hold():
    block = kv_block(tokens=5)
    keys, values = there_and_back("bf16", block.keys, block.values)
    assert torch.equal(keys, block.keys.bfloat16().float())
    assert torch.equal(values, block.values.bfloat16().float())


@pytest.mark.parametrize("codec", NAMES)
@given(
    blocks=st.integers(1, 9),
    tokens=st.integers(1, 70),
    head_dim=st.sampled_from([6, 32, 40]),
    dtype=st.sampled_from(DTYPES),
)
def test_decoding_a_batch_equals_decoding_one_by_one(codec, blocks, tokens, head_dim, dtype):
    kept = [kv_block(tokens, seed=i, head_dim=head_dim, dtype=dtype) for i in range(blocks)]
    codec, layout = codec_named(codec), layout_of(kept[0].keys)
    rows = torch.stack([codec.encode(block.keys, block.values)[1] for block in kept])
    one_by_one = [codec.decode(row[None], layout, dtype) for row in rows]
    for got, alone in zip(
        codec.decode(rows, layout, dtype), zip(*one_by_one, strict=True), strict=True
    ):
        assert got.dtype == dtype
        assert torch.equal(got, torch.cat(alone, dim=1))


@pytest.mark.parametrize("codec", ["int8", "int4", "int4_token", "int2_token"])
def test_a_batch_larger_than_the_processor_cache_decodes_like_its_parts(codec):
    kept = [kv_block(tokens=64, seed=i, kv_heads=4, head_dim=128) for i in range(40)]
    codec, layout = codec_named(codec), layout_of(kept[0].keys)
    rows = torch.stack([codec.encode(block.keys, block.values)[0] for block in kept])
    alone = [codec.decode(row[None], layout, torch.bfloat16)[0] for row in rows]
    keys, _ = codec.decode(rows, layout, torch.bfloat16)
    assert torch.equal(keys, torch.cat(alone, dim=1))


@pytest.mark.parametrize("codec", NAMES)
@pytest.mark.parametrize("constant", [0.0, 79.3, -1e-7])
def test_constant_channels_survive(codec, constant):
    keys = torch.full((1, 1, 5, 4), constant)
    got, _ = there_and_back(codec, keys, keys)
    assert torch.allclose(got, keys, rtol=2**-8, atol=2**-24)


@pytest.mark.parametrize("codec", NAMES)
@pytest.mark.parametrize("wrong", [torch.inf, -torch.inf, torch.nan])
@pytest.mark.parametrize("part", ["keys", "values"])
def test_numbers_that_are_not_finite_are_refused(codec, wrong, part):
    block = kv_block(tokens=4)
    getattr(block, part)[1, 0, 2, 3] = wrong
    with pytest.raises(BlockRejectedError, match=f"codec {codec}.*nan"):
        codec_named(codec).encode(block.keys, block.values)


def test_numbers_beyond_float16_are_refused_by_integers_and_kept_by_bf16():
    keys = torch.full((1, 1, 2, 2), 1e5)
    with pytest.raises(BlockRejectedError, match="use the codec bf16 or exact"):
        codec_named("int8").encode(keys, keys)
    assert there_and_back("bf16", keys, keys)[0].isfinite().all()


def test_int8_takes_half_and_int4_under_a_third_of_bf16():
    layout = RowLayout(kv_heads=4, tokens=196, head_dim=128, dtype_name="bfloat16")
    int8, int4, bf16 = (codec_named(name).row_bytes(layout) for name in ("int8", "int4", "bf16"))
    assert (int8, bf16) == (205_888, 401_408)
    assert int4 < bf16 / 3


def test_an_unknown_codec_lists_the_known_ones():
    with pytest.raises(
        StoreError, match="'zip'; known: bf16, exact, fp4, int2, int2_token, int4, int4_token, int8"
    ):
        codec_named("zip")
