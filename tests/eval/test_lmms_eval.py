"""lmms-eval's own evaluator runs tasks on sessions that watch, and scores what they answer."""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import yaml
from owl_stream import write_owl_video

from vstream import IngestWorker, Question, load_config, load_video_llm, open_session
from vstream.decoding.token_choice import Decoding

BESIDE = Path(sys.prefix) / "lmms-eval"
"""Where `make` installs it: it asks for older packages than ours."""
POLICY = "last_frames"
"""Of the last four, so that it matters what was seen."""
NOW, EVER = "what do you see now?", "have you seen an owl?"
MOMENTS = [(NOW, 12, "an owl"), (EVER, 4, "no"), (NOW, None, "a cup"), (EVER, 24, "no")]
"""A question, when it is put (None: at the end), and what would be right."""
MANY_S = (4, 12)
STRETCH_S = (16, 18)
"""The owl has just left."""
MOST_TOKENS = 8
FUNCTIONS = """
import json

VIDEO = {video!r}


def shown_until(doc):
    video = {{"type": "video", "url": VIDEO, "end_time": doc["end_s"]}}
    text = {{"type": "text", "text": doc["question"]}}
    return [{{"role": "user", "content": [video, text]}}]


def shown_from(doc):
    start_s, end_s = {stretch}
    return [{{"type": "video", "path": VIDEO, "video_start": start_s, "video_end": end_s}}]


def whole(doc):
    return [VIDEO]


def listed(doc, results):
    return {{"right": float(json.loads(results[0]) == doc["answers"])}}


def rounds(doc, lmms_eval_specific_kwargs=None, previous_output=None, round_idx=None, **_):
    if round_idx is None:
        return doc["question"]
    visuals = [] if round_idx == 1 else whole(doc)
    return visuals, {now!r}, round_idx == 3, previous_output, None


def all_rounds(doc, results):
    return {{"rounds": float(len(results[0]))}}
"""
EXACT = {"metric_list": [{"metric": "exact_match", "aggregation": "mean"}]}
TASKS = {
    "until": {"doc_to_messages": "!function functions.shown_until", **EXACT},
    "times": {
        "doc_to_visual": "!function functions.whole",
        "process_results": "!function functions.listed",
        "metric_list": [{"metric": "right", "aggregation": "mean"}],
    },
    "rounds": {
        "output_type": "generate_until_multi_round",
        "doc_to_visual": "!function functions.shown_from",
        "doc_to_text": "!function functions.rounds",
        "process_results": "!function functions.all_rounds",
        "metric_list": [{"metric": "rounds", "aggregation": "mean"}],
    },
}


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_owl_video(tmp_path_factory.mktemp("video") / "owl.mp4")


@pytest.fixture(scope="module")
def said(video):
    """What a session answers that has seen a stretch of the video and nothing else."""
    config = load_config(policy=POLICY, source={"dedup_threshold": 0})
    model = load_video_llm(None, "cpu")

    @cache
    def of_stretch(text, end_s, start_s=0):
        question = Question(text, decoding=Decoding(max_tokens=MOST_TOKENS))
        with open_session(config, model, "owl") as session:
            IngestWorker(session, str(video), config.source, from_s=start_s, until_s=end_s).run()
            return session.ask(question).answer.text

    return of_stretch


def write_tasks(folder, video, documents):
    functions = FUNCTIONS.format(video=str(video), stretch=STRETCH_S, now=NOW)
    (folder / "functions.py").write_text(functions)
    for name, told in TASKS.items():
        data = folder / f"{name}.jsonl"
        data.write_text("\n".join(map(json.dumps, documents[name])))
        task = {
            "task": f"owl_{name}",
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": str(data)}},
            "test_split": "test",
            "output_type": "generate_until",
            "doc_to_text": "question",
            "doc_to_target": "target",
            "generation_kwargs": {"max_new_tokens": MOST_TOKENS, "do_sample": False},
            **told,
        }
        text = yaml.safe_dump(task).replace("'!function", "!function")
        (folder / f"{name}.yaml").write_text(text.replace("'\n", "\n"))


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory, video, said):
    """The results that lmms-eval wrote, and for each task the answers."""
    if not BESIDE.is_dir() and "CI" not in os.environ:
        pytest.skip("lmms-eval is not installed: make test installs it")
    folder = tmp_path_factory.mktemp("tasks")
    own = [said(NOW, at_s) for at_s in MANY_S]
    documents = {
        "until": [{"question": q, "end_s": s, "target": right} for q, s, right in MOMENTS],
        "times": [{"question": NOW, "query_times": MANY_S, "answers": own, "target": ""}],
        "rounds": [{"question": EVER, "target": ""}],
    }
    write_tasks(folder, video, documents)
    options = {
        "--model": "vstream",
        "--model_args": f"device=cpu,policy={POLICY}",
        "--tasks": ",".join(f"owl_{name}" for name in TASKS),
        "--include_path": str(folder),
        "--output_path": str(folder / "out"),
    }
    run = subprocess.run(
        [sys.executable, "-m", "lmms_eval", *sum(options.items(), ()), "--log_samples"],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([*sys.path, str(BESIDE)]),
            "HF_HOME": str(folder / "cache"),
        },
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    found = {}
    for name in TASKS:
        (path,) = (folder / "out").rglob(f"*samples_owl_{name}.jsonl")
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        found[name] = [
            line["filtered_resps"] for line in sorted(lines, key=lambda one: one["doc_id"])
        ]
    (path,) = (folder / "out").rglob("*results.json")
    return json.loads(path.read_text())["results"], found


def test_an_answer_is_that_of_a_session_at_the_questions_time(evaluated, said):
    results, answers = evaluated
    own = [said(question, at_s) for question, at_s, _ in MOMENTS]
    assert answers["until"] == own
    assert len(set(own)) > 2, "what does not differ by its time tells nothing"
    rights = [answer == right for answer, (_, _, right) in zip(own, MOMENTS, strict=True)]
    assert results["owl_until"]["exact_match,none"] == sum(rights) / len(rights)


def test_a_question_is_put_at_each_of_its_query_times(evaluated):
    results, _ = evaluated
    assert results["owl_times"]["right,none"] == 1.0


def test_each_round_is_asked_and_one_without_a_video_is_about_that_before(evaluated, said):
    """A round may show a stretch: its session begins there."""
    results, answers = evaluated
    start_s, end_s = STRETCH_S
    stretch = [said(question, end_s, start_s) for question in (EVER, NOW)]
    assert answers["rounds"] == [[*stretch, said(NOW, None)]]
    assert results["owl_rounds"]["rounds,none"] == 3.0
