"""The speed benchmark measures what it names and ends with one document."""

import json

import pytest
from typer.testing import CliRunner

from eval.commands import cli

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
def document():
    options = ["speed", "--minutes", "0.2", "--minutes", "0.5", "--threads", "1", "--json"]
    result = CliRunner().invoke(cli, options)
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
