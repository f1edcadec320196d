"""The speed benchmark measures what it names and ends with one document."""

import json
from itertools import islice

import pytest
import torch
from typer.testing import CliRunner

from eval.commands import cli
from eval.tier_speed.block_shape import LLAVA_ONEVISION_7B, random_records
from eval.tier_speed.tier_store import file_store, host_store, redis_store
from eval.tier_speed.transfer import memory_over, read, write

KEYS = {
    "ingest_fps",
    "ttft_ms",
    "tokens_per_s",
    "bytes_per_hour",
    "rss_bytes",
    "stages",
    "history_s",
    "threads",
    "load_average",
}


@pytest.fixture(scope="module")
def document(running_redis, tmp_path_factory):
    options = ["speed", "--minutes", "0.2", "--minutes", "0.5", "--threads", "1", "--json"]
    folder = tmp_path_factory.mktemp("tiers")
    tiers = ["--redis", running_redis.url, "--tier-mb", "12", "--tier-folder", str(folder)]
    with pytest.MonkeyPatch.context() as patched:  # figures are there to be looked at, not true
        patched.setattr("eval.speed._POOL", 32)
        patched.setattr("eval.speed.ROUNDS", 2)
        patched.setattr("eval.tier_speed.measure.ROUNDS", 2)
        result = CliRunner().invoke(cli, [*options, *tiers])
    assert not [*folder.iterdir()], "nothing is left behind"
    assert result.exit_code == 0, result.output
    return json.loads(result.output.strip().splitlines()[-1])


def test_the_document_has_every_figure_at_every_history(document):
    assert set(document) >= KEYS
    assert [entry["history_s"] for entry in document["histories"]] == [12, 30]
    for entry in document["histories"]:
        assert set(entry) >= KEYS
        assert entry["ingest_fps"] > 0
        assert entry["ttft_ms"] > 0
        assert entry["tokens_per_s"] > 0


def test_bytes_follow_from_the_history(document):
    for entry in document["histories"]:
        assert entry["bytes_per_hour"] == pytest.approx(
            entry["store_bytes"] / entry["history_s"] * 3600, rel=1e-3
        )
    first, last = document["histories"]
    assert last["store_bytes"] / first["store_bytes"] == pytest.approx(30 / 12, rel=0.05)


def test_every_tier_is_measured_with_blocks_of_both_shapes(document):
    tiers = document["tiers"]
    named = [(tier["tier"], tier["is_cold"], tier["shape"]) for tier in tiers]
    kinds = [("host", False), ("file", False), ("file", True), ("redis", False)]
    shapes = ("embedded", "LLaVA-OneVision-7B")
    assert sorted(named) == sorted((*kind, shape) for kind in kinds for shape in shapes)
    for tier in tiers:
        assert tier["write_gb_s"] > 0
        assert tier["read_gb_s"] > 0
        assert tier["retrieve_ms"] > 0
        assert (tier["first_token_ms"] is None) == (tier["shape"] != "embedded")
    # int8 codes, and 2 x 2 bytes for every channel of the keys and every token of the values
    heads, dim, tokens = 4, 128, 196
    scales = 4 * heads * (dim + tokens)
    (row_bytes,) = {t["row_bytes"] for t in tiers if t["shape"] == "LLaVA-OneVision-7B"}
    assert 0 <= row_bytes - (2 * heads * dim * tokens + scales) < 16


@pytest.mark.parametrize("kind", ["host", "file", "redis"])
def test_what_is_timed_is_read_from_the_store_and_gone_afterwards(kind, tmp_path, request):
    records = list(islice(random_records(LLAVA_ONEVISION_7B, 2), 2))
    head = records[0].head
    if kind == "redis":
        server = request.getfixturevalue("redis_server")
        opened = redis_store(head.make, server.url)
    else:
        opened = host_store(head.make) if kind == "host" else file_store(head.make, tmp_path)
    with opened as place, memory_over(place.store, head) as memory:
        write(memory, records)
        assert place.store.next_id == memory.num_blocks == 2
        asked = []
        rows = place.store.read_rows

        def counted(layer, ids):
            asked.append((layer, list(ids)))
            return rows(layer, ids)

        place.store.read_rows = counted
        read(memory, place.store, torch.bfloat16, place.make_cold)
        assert asked == 2 * 5 * [(layer, [0, 1]) for layer in range(28)], "no copies lie above it"
    assert not [*tmp_path.iterdir()]
    if kind == "redis":
        with server.client() as client:
            assert client.dbsize() == 0
