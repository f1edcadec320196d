"""`python -m eval speed engine` and `tiers` measure what they name and end with one document."""

import json

import pytest
import torch
from typer.testing import CliRunner

from eval.commands import cli
from eval.speed.tiers import LARGE, large_records, opened, read, write

KEYS = {
    "history_s",
    "ingest_fps",
    "first_token_ms",
    "tokens_per_s",
    "bytes_per_hour",
    "rss_bytes",
}


def document_of(*words):
    with pytest.MonkeyPatch.context() as patched:  # figures are there to be looked at, not true
        patched.setattr("eval.speed.subject._POOL", 8)
        patched.setattr("eval.speed.questions.ASKED", 3)
        patched.setattr("eval.speed.tiers._ROUNDS", 2)
        patched.setenv("VSTREAM_THREADS", "1")
        result = CliRunner().invoke(cli, ["speed", *map(str, words), "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.output.strip().splitlines()[-1])


@pytest.fixture(scope="module")
def engine():
    return document_of("engine", "--minutes", 0.2, "--minutes", 0.5)


def test_the_document_has_every_figure_at_every_history(engine):
    assert [entry["history_s"] for entry in engine["histories"]] == [12, 30]
    for entry in engine["histories"]:
        assert set(entry) >= KEYS
        assert entry["ingest_fps"] > 0
        assert entry["first_token_ms"] > 0
        assert entry["tokens_per_s"] > 0
    for entry in engine["stages of an ingested frame"]:
        assert {"vision_ms", "prefill_ms", "store_ms"} <= set(entry)
    (here,) = engine["here"]
    assert {"model", "threads", "load_average"} <= set(here)


def test_bytes_follow_from_the_history(engine):
    for entry in engine["histories"]:
        assert entry["bytes_per_hour"] == pytest.approx(
            entry["store_bytes"] / entry["history_s"] * 3600, rel=1e-3
        )
    first, last = engine["histories"]
    assert last["store_bytes"] / first["store_bytes"] == pytest.approx(30 / 12, rel=0.05)


def test_every_tier_is_measured_with_blocks_of_both_shapes(running_redis, tmp_path):
    places = ("--redis", running_redis.url, "--folder", tmp_path)
    tiers = document_of("tiers", "--minutes", 0.2, "--mb", 12, *places)["tiers"]
    assert not [*tmp_path.iterdir()], "nothing is left behind"
    kinds = ("host", "file", "file, cold", "redis")
    shapes = ("embedded", "LLaVA-OneVision-7B")
    named = sorted((tier["tier"], tier["blocks_of"]) for tier in tiers)
    assert named == sorted((kind, shape) for kind in kinds for shape in shapes)
    for tier in tiers:
        assert tier["write_gb_s"] > 0
        assert tier["read_gb_s"] > 0
        assert tier["retrieve_ms"] > 0
        assert (tier["first_token_ms"] is None) == (tier["blocks_of"] != "embedded")
    # int8 codes, and 2 x 2 bytes for every channel of the keys and every token of the values
    heads, dim, tokens = 4, 128, 196
    scales = 4 * heads * (dim + tokens)
    (row_bytes,) = {t["row_bytes"] for t in tiers if t["blocks_of"] == "LLaVA-OneVision-7B"}
    assert 0 <= row_bytes - (2 * heads * dim * tokens + scales) < 16


@pytest.fixture(scope="module")
def records():
    return list(large_records(2))


@pytest.mark.parametrize("kind", ["host", "file", "redis"])
def test_what_is_timed_is_read_from_the_store_and_gone_afterwards(kind, records, tmp_path, request):
    url = {"host": "memory://", "file": tmp_path.as_uri()}.get(kind)
    if kind == "redis":
        server = request.getfixturevalue("redis_server")
        url = server.url
    with opened(url, LARGE) as tier:
        write(tier.memory, records)
        assert tier.store.next_id == tier.memory.num_blocks == 2
        asked = []
        rows = tier.store.read_rows

        def counted(layer, ids):
            asked.append((layer, list(ids)))
            return rows(layer, ids)

        tier.store.read_rows = counted
        read(tier, torch.bfloat16, tier.make_cold)
        assert asked == 2 * 5 * [(layer, [0, 1]) for layer in range(28)], "no copies lie above it"
    assert not [one for one in tmp_path.rglob("*") if one.is_file() and one.stat().st_size]
    if kind == "redis":
        with server.client() as client:
            assert client.dbsize() == 0
