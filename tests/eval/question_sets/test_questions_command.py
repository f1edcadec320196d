"""`python -m eval questions`, as a user runs it."""

import json

import pytest
from hand_made_sets import WRITERS, vs_entry, write_json, write_ovo, write_streaming_bench
from loopback_http import loopback_http
from tiny_judge import save_tiny_judge
from typer.testing import CliRunner

from eval.commands import cli
from eval.question_sets.scored_run import NAMES, make_benchmark

VERDICTS = {
    # the predicted answer: how each of two judges sees it
    "red": ("{'pred': 'yes', 'score': 5}", "{'pred': 'yes', 'score': 4}"),
    "blue": ("{'pred': 'no', 'score': 0}", "{'pred': 'no', 'score': 1}"),
    "reddish": ("{'pred': 'yes', 'score': 3}", "{'pred': 'no', 'score': 2}"),
    "hm": ("what?", "what?"),
}


def questions(*arguments):
    return CliRunner().invoke(cli, ["questions", *map(str, arguments)])


def document_of(result):
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout.strip().splitlines()[-1])


def write_predictions(path, **texts):
    """`texts`: by id; an id may not be a Python name."""
    lines = [json.dumps({"id": name, "texts": said}) for name, said in texts.items()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def judging_server(request):
    """Two models behind one server; each says what stands in the table."""
    asked = json.loads(request.body)
    given = asked["messages"][1]["content"].split("Predicted Answer: ")[1].split("\n\n")[0]
    text = VERDICTS[given][asked["model"] == "second"]
    body = {"model": f"{asked['model']}-2026", "choices": [{"message": {"content": text}}]}
    return 200, {"Content-Type": "application/json"}, json.dumps(body).encode()


def write_vs_ego(path):
    write_json(path / "vstream/test_qa_ego4d.json", [vs_entry(str(n % 2)) for n in range(4)])
    return path


def test_a_finished_run_becomes_the_published_table(tmp_path):
    write_ovo(tmp_path)
    said = {"0": ["C"], "1": ["ABCD"], "2": [["C"]], "20_0": ["0"], "20_1": [2], "99": ["C"]}
    predictions = write_predictions(tmp_path / "run.jsonl", **said, **{"22_0": [None]})
    result = questions("ovo-bench", "--data", tmp_path, "--predictions", predictions, "--json")
    document = document_of(result)
    assert (document["questions"], document["answered"]) == (15, 6)
    assert document["predictions_without_question"] == 1
    backward = document["rows"]["Backward Tracing"]
    assert (backward["published"]["value"], backward["strict"]["value"]) == (100, 66.6667)
    assert document["rows"]["REC"]["published"] == {"value": 100, "stderr": None, "questions": 2}
    assert document["rows"]["Total"]["published"] is None
    assert document["awkward"] == {"not asked": 9, "not one letter": 1, "no answer": 1}
    assert "Backward Tracing" in result.stdout


def test_only_some_tasks(tmp_path):
    write_streaming_bench(tmp_path)
    (tmp_path / "questions_omni.json").unlink()
    predictions = write_predictions(tmp_path / "run.jsonl", **{"real-0-0": ["C"]})
    document = document_of(
        questions(
            *("streaming-bench", "--data", tmp_path, "--predictions", predictions),
            *("--task", "OP", "--task", "CR", "--json"),
        )
    )
    assert document["questions"] == 2
    assert document["rows"]["OP"]["published"]["value"] == 100


def test_every_number_of_a_judge_stands_with_its_name_version_and_settings(tmp_path):
    write_vs_ego(tmp_path)
    said = {"0_0": ["red"], "1_0": ["blue"], "0_1": ["reddish"], "1_1": ["hm"]}
    predictions = write_predictions(tmp_path / "run.jsonl", **said)
    with loopback_http(judging_server) as server:
        run = (
            *("vs-ego", "--data", tmp_path, "--predictions", predictions, "--json"),
            *("--judge", "first", "--judge-url", server.url, "--second-judge", "second"),
        )
        document = document_of(questions(*run))
        num_requests = len(server.requests)
        assert document_of(questions(*run)) == document
        assert len(server.requests) == num_requests == 2 * (3 + 5)
    assert document["rows"]["Accuracy (ReKV: yes / (yes + no))"]["published"]["questions"] == 3
    assert document["rows"]["Score"]["published"]["value"] == pytest.approx(8 / 3, abs=1e-4)
    assert document["awkward"] == {"unreadable judgement": 1}
    assert document["judge"] == {
        "name": "first",
        "versions": {"first-2026": 4},
        "settings": f"url={server.url} temperature=0 max_tokens=300",
    }
    assert document["second_judge"]["versions"] == {"second-2026": 4}
    # They agree on three of four; by chance on 2/4 * 1/4 + 1/4 * 2/4 + 1/4 * 1/4 = 5/16.
    assert document["agreement"]["num_answers"] == 4
    assert document["agreement"]["agreed"] == 0.75
    assert document["agreement"]["kappa"] == pytest.approx((3 / 4 - 5 / 16) / (11 / 16))
    kept = predictions.with_suffix(".judgements.jsonl").read_text().splitlines()
    assert len(kept) == num_requests


def test_a_local_model_judges_and_what_it_says_unreadably_is_shown(tmp_path):
    write_vs_ego(tmp_path)
    judge = save_tiny_judge(tmp_path / "tiny-instruct")
    predictions = write_predictions(tmp_path / "run.jsonl", **{"0_0": ["red"]})
    document = document_of(
        questions(
            *("vs-ego", "--data", tmp_path, "--predictions", predictions, "--judge", judge),
            *("--judgements", tmp_path / "kept.jsonl", "--json"),
        )
    )
    assert document["judge"]["name"] == "tiny-instruct"
    assert document["awkward"] == {"not asked": 3, "unreadable judgement": 1}
    assert document["rows"]["Score"] == {
        "unit": "0 to 5",
        "published": None,
        "strict": {"value": 0, "stderr": 0, "questions": 4},
    }
    assert len((tmp_path / "kept.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize("name", NAMES)
def test_what_a_run_is_to_be_asked_is_written_without_the_truth(name, tmp_path):
    WRITERS[name](tmp_path)
    out = tmp_path / "items.jsonl"
    result = questions(name, "--data", tmp_path, "--items", out)
    assert result.exit_code == 0, result.output
    assert "warning: data:" in result.stderr  # the hand-made sets have no videos
    benchmark = make_benchmark(name)
    items = benchmark.load(tmp_path)
    documents = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [document["id"] for document in documents] == [item.id for item in items]
    for document, item in zip(documents, items, strict=True):
        assert document["prompt"]["text"] == benchmark.prompt(item).text
        assert len(document["spans_s"]) == len(item.spans)
        assert (document["prompt_after_yes"] is not None) == bool(item.polls_s)
        assert not {"answer", "gt"} & document.keys()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("ovo-bench",), "give --predictions"),
        (("ovo", "--items", "x"), "there is no 'ovo'"),
        (("mlvu", "--items", "x"), "json/4_count.json"),
        (("ovo-bench", "--predictions", "nowhere.jsonl"), "there is no"),
        (("ovo-bench", "--task", "QQ", "--items", "x"), "there is no 'QQ'"),
        (("vs-ego", "--predictions", "run.jsonl"), "name a model with"),
        (("vs-ego", "--predictions", "run.jsonl", "--judge", "gpt"), "give --judge-url"),
        (("ovo-bench", "--predictions", "none.jsonl"), 'has no "id"'),
        (("ovo-bench", "--predictions", "twice.jsonl"), "answered twice"),
        (("ovo-bench", "--predictions", "empty.jsonl"), "neither"),
        (("ovo-bench", "--predictions", "odd.jsonl"), "is not a text"),
        (("ovo-bench", "--predictions", "texts.jsonl"), "is not a list"),
        (("ovo-bench", "--predictions", "broken.jsonl"), "line 2"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(arguments, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_ovo(tmp_path)
    write_vs_ego(tmp_path)
    lines = {
        "run": '{"id": "0_0", "texts": ["red"]}',
        "none": '{"answer": "C"}',
        "twice": '{"id": 0, "answer": "C"}\n{"id": "0", "answer": "C"}',
        "empty": '{"id": "0"}',
        "odd": '{"id": "0", "answer": ["A", "B"]}',
        "texts": '{"id": "0", "texts": "C"}',
        "broken": '{"id": "0", "answer": "C"}\n{"id"',
    }
    for name, text in lines.items():
        (tmp_path / f"{name}.jsonl").write_text(text)
    name, *options = arguments
    result = questions(name, "--data", tmp_path, *options)
    assert result.exit_code == 2
    # The message stands in a box that breaks lines anywhere.
    flat = "".join(result.stderr.split()).replace("│", "")
    assert "".join(said.split()) in flat


def test_a_key_for_the_judge_is_taken_from_the_environment_and_never_shown(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sesame-opens")
    write_vs_ego(tmp_path)
    predictions = write_predictions(tmp_path / "run.jsonl", **{"0_0": ["red"]})
    with loopback_http(judging_server) as server:
        result = questions(
            *("vs-ego", "--data", tmp_path, "--predictions", predictions, "--json"),
            *("--judge", "first", "--judge-url", server.url),
        )
        assert server.requests[0].headers["authorization"] == "Bearer sesame-opens"
    assert result.exit_code == 0
    kept = predictions.with_suffix(".judgements.jsonl").read_text()
    assert "sesame" not in result.output + kept
