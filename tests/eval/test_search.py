"""The search benchmarks measure what they name and end with one document."""

import json

from typer.testing import CliRunner

from eval.commands import cli


def document_of(*arguments):
    result = CliRunner().invoke(cli, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.output.strip().splitlines()[-1])


def test_the_embedded_model_finds_what_it_is_asked_for_more_often_than_chance():
    document = document_of("search", "--streams", "1", "--minutes", "2")
    figures = {(one["layers"], one["form"]): one for one in document["figures"]}
    assert {"0", "7", "0 and 4", "all", "moments"} <= {layers for layers, _ in figures}
    for one in figures.values():
        assert 0 <= one["recall"] <= 1
        assert one["searches"] > 5
    assert figures["moments", "find {a}"]["found"] > document["chance"]
    assert figures["0 and 4", "find {n}"]["found"] > document["chance"]


def test_when_things_were_in_view_is_found_better_the_more_is_judged():
    options = ("--minutes", "1", "--most", "3", "--every", "2", "--curve", "3", "--cameras", "1")
    document = document_of("find", *options)
    assert list(document) == ["quick", "default", "3 judgements", "every block"]
    assert document["default"]["statements"] == 6
    assert document["every block"]["statements"] == 2
    assert document["3 judgements"]["judged"] <= 3
    assert document["3 judgements"]["recall"] <= document["default"]["recall"]
    assert document["default"]["recall"] > 0.5
    assert 0 < document["default"]["again"] < document["default"]["seconds"]
    assert document["default"]["to the first span"] > 0
    assert 0 < document["default"]["frames in time"] <= 1


def test_what_came_and_left_is_told_mostly_right():
    document = document_of("recap", "--streams", "2", "--minutes", "1")
    told = document["all"]
    assert told["changes"] > 20
    assert document["arrivals"]["changes"] + document["departures"]["changes"] == told["changes"]
    assert min(told["recall"], told["precision"]) > 0.7
    assert document["cost"]["described"] > 10


def test_retrieval_from_a_long_past_finds_what_scoring_every_key_finds():
    options = ("--blocks", "2048", "--own", "300")
    figures = document_of("speed", "retrieval", *options)["retrieval"]
    assert [(one["keys"], one["blocks"]) for one in figures] == [("stream", 2048), ("random", 2048)]
    for one in figures:
        assert one["recall"] >= 0.99
        assert one["search_ms"] > 0
        assert one["drop_ms"] > 0
        assert one["open_s"] > 0
