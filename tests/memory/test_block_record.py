import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kv_blocks import as_of_a_newer_version, kv_record, same_info

from memory import BlockCorruptError, BlockRecord, StoreError
from memory.block_record import FORMAT_VERSION, HEADER_BYTES


@given(seed=st.integers(0, 50), tokens=st.integers(1, 5), layers=st.integers(1, 4))
def test_a_record_comes_back_as_it_was(seed, tokens, layers):
    record = kv_record(seed, tokens, layers)
    back = BlockRecord.from_bytes(record.to_bytes(), "here")
    assert back.rows == record.rows
    assert back.thumbnail == record.thumbnail
    assert (back.head.provenance, back.head.form) == (record.head.provenance, record.head.form)
    assert back.head.block_id == seed
    assert same_info(back.head.info, record.head.info)
    assert (back.head.representative_keys == record.head.representative_keys).all()


def test_equal_records_are_equal_bytes():
    assert kv_record().to_bytes() == kv_record().to_bytes()


@given(st.data())
def test_any_flipped_bit_is_found(data):
    flipped = bytearray(kv_record().to_bytes())
    flipped[data.draw(st.integers(0, len(flipped) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises((BlockCorruptError, StoreError), match="here"):
        BlockRecord.from_bytes(bytes(flipped), "here")


@given(cut=st.integers(1, len(kv_record().to_bytes())))
def test_a_record_of_another_length_is_corrupt(cut):
    intact = kv_record().to_bytes()
    with pytest.raises(BlockCorruptError, match="here"):
        BlockRecord.from_bytes(intact[:-cut], "here")
    with pytest.raises(BlockCorruptError, match="bytes, expected"):
        BlockRecord.from_bytes(intact + b"x", "here")


def test_a_record_of_the_next_format_version_is_refused_by_name():
    data = as_of_a_newer_version(kv_record().to_bytes())
    wanted = f"here: .* format version {FORMAT_VERSION + 1}, this vstream reads up to"
    with pytest.raises(StoreError, match=wanted):
        BlockRecord.from_bytes(data, "here")


def test_a_version_that_a_flipped_bit_made_is_damage_and_not_a_newer_one():
    data = bytearray(kv_record().to_bytes())
    struct.pack_into("<H", data, 4, FORMAT_VERSION + 1)
    with pytest.raises(BlockCorruptError, match="header does not match its CRC32"):
        BlockRecord.from_bytes(bytes(data), "here")


def test_the_message_of_a_corrupt_row_names_its_layer():
    data = bytearray(kv_record(layers=3).to_bytes())
    data[-1] ^= 1
    with pytest.raises(BlockCorruptError, match=r"here, layer 2: .*CRC32"):
        BlockRecord.from_bytes(bytes(data), "here")


def test_a_record_begins_with_its_magic_and_a_header_of_fixed_size():
    assert kv_record().to_bytes()[:4] == b"VSKB"
    assert HEADER_BYTES == 32
