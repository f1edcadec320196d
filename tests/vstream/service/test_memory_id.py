"""Each model has a memory of its own of each stream, and a name for it that tells which stream."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory import require_stream_id
from vstream import VStreamConfig, load_video_llm, open_session
from vstream.service.memory_id import LONGEST_ID, memory_id, memory_ids, stream_of


@pytest.fixture(scope="module")
def model():
    return load_video_llm(None)


def keep(store, stream_id, model):
    """Let `model` begin a memory of the stream where it belongs."""
    kept = memory_id(store, stream_id, model)
    open_session(VStreamConfig(memory={"store": store}), model, kept).close()
    return kept


def test_the_first_model_has_the_streams_own_id_and_others_theirs_beside(model, tmp_path):
    store = f"file://{tmp_path}"
    others = [replace(model, fingerprint=name) for name in ("other-1", "other-2")]
    ids = [keep(store, "door", one) for one in (model, *others)]
    assert ids[0] == "door"
    assert len(set(ids)) == 3
    assert [memory_id(store, "door", one) for one in (model, *others)] == ids
    assert memory_ids(store, "door") == sorted(ids)
    assert keep(store, "yard", others[0]) == "yard"  # whoever came first


def test_a_model_finds_its_memory_when_the_first_ones_is_gone(model, tmp_path):
    store = f"file://{tmp_path}"
    other = replace(model, fingerprint="other-1")
    keep(store, "door", other)
    beside = keep(store, "door", model)
    (tmp_path / "door").rename(tmp_path / "gone")
    assert memory_id(store, "door", model) == beside


@given(st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}", fullmatch=True))
def test_the_longest_ids_leave_room(stream_id):
    kept = f"{stream_id}.model-0123456789ab"
    assert len(stream_id) <= LONGEST_ID
    assert require_stream_id(kept) == kept
    assert stream_of(kept) == stream_id
