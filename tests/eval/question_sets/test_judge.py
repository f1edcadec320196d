"""The judge: its prompt, replies of all kinds, a server, a local model, and what is kept of it."""

import ast
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loopback_http import loopback_http
from tiny_judge import save_tiny_judge
from tiny_models import tiny_model

from eval.question_sets.judging import (
    EndpointJudge,
    Judgement,
    JudgeReply,
    Judging,
    LocalJudge,
    judge_prompt,
    read_judgement,
)
from vstream import ModelError

GOLDEN = Path(__file__).parents[2] / "data/question_prompts/judge.json"
YES, NO = Judgement(True, 4), Judgement(False, 1)
REPLIES = {
    "{'pred': 'yes', 'score': 4}": YES,
    "{'pred': 'yes', 'score': 4.8}": YES,
    '{"pred": "Yes.", "score": "4"}': YES,
    " {'score': 1, 'pred': 'no'}": NO,
    "{'prev': 'no', 'score': 1}": NO,
    "{'pred': 'yes and no', 'score': 4}": YES,
    "{'pred': 'unsure', 'score': 2}": Judgement(None, 2),
    "{'pred': 'not', 'score': 1}": NO,
    "{'pred': 'no', 'score': -3}": Judgement(False, -3),
}
UNREADABLE = [
    "",
    "yes",
    "```python\n{'pred': 'yes', 'score': 4}\n```",
    "{'pred': 'yes', 'score': '4.8'}",
    "{'pred': 'yes', 'score': None}",
    "{'pred': True, 'score': 4}",
    "{'pred': 'yes'}",
    "{'score': 4}",
    "{'pred': 'yes', 'score': 1e999}",
    '{"pred": "yes", "score": true',
    "['yes', 4]",
    "4",
    "__import__('os').system('true')",
    "(" * 5000,
    "\x00",
]


class Scripted:
    """A judge that says what it is told to, in order, and then fails."""

    name, settings, num_parallel, num_attempts = "scripted", "none", 1, 3

    def __init__(self, *texts):
        self.texts = list(texts)
        self.num_asked = 0

    def reply(self, prompt):
        self.num_asked += 1
        return JudgeReply(self.texts.pop(0), "v1")


def chat_answer(text, **more):
    body = {"choices": [{"message": {"role": "assistant", "content": text}}], **more}
    return 200, {"Content-Type": "application/json"}, json.dumps(body).encode()


def test_the_prompt_is_the_published_one_letter_for_letter():
    prompt = judge_prompt("What {is} it?", "a cup", "a red {cup}")
    assert [message["content"] for message in prompt] == json.loads(
        GOLDEN.read_text(encoding="utf-8")
    )


@pytest.mark.parametrize("reply", REPLIES)
def test_replies_that_can_be_read(reply):
    assert read_judgement(reply) == REPLIES[reply]


@pytest.mark.parametrize("reply", UNREADABLE)
def test_replies_that_cannot(reply):
    assert read_judgement(reply) is None


@given(st.text() | st.dictionaries(st.text(), st.text() | st.integers()).map(repr))
def test_no_reply_is_too_strange_to_be_refused(reply):
    found = read_judgement(reply)
    assert found is None or isinstance(ast.literal_eval(reply), dict)


def test_a_server_is_asked_as_published_and_says_which_model_it_is():
    answer = chat_answer("{'pred': 'yes', 'score': 4}", model="m-0613", system_fingerprint="fp")
    prompt = judge_prompt("q", "a", "p")
    with loopback_http(lambda _: answer) as server:
        found = EndpointJudge("m", f"{server.url}/v1", "sesame").reply(prompt)
        [request] = server.requests
    assert found == JudgeReply("{'pred': 'yes', 'score': 4}", "m-0613 fp")
    assert [message["role"] for message in prompt] == ["system", "user"]
    assert request.path == "/v1/chat/completions"
    assert request.headers["authorization"] == "Bearer sesame"
    assert json.loads(request.body) == {
        "model": "m",
        "messages": prompt,
        "temperature": 0,
        "max_tokens": 300,
    }


def test_a_busy_server_is_asked_again_and_a_refusal_says_why():
    statuses = [503, 429]

    def answer(_):
        if statuses:
            return statuses.pop(), {}, b""
        return chat_answer("fine")

    with loopback_http(answer) as server:
        judge = EndpointJudge("m", server.url, longest_wait_s=0.01)
        assert judge.reply(judge_prompt("q", "a", "p")).text == "fine"
        assert len(server.requests) == 3
    with loopback_http(lambda _: (401, {}, b"no such key")) as server:
        with pytest.raises(ModelError, match=r"401 \(no such key"):
            EndpointJudge("m", server.url).reply(judge_prompt("q", "a", "p"))
        assert len(server.requests) == 1


@pytest.mark.parametrize("body", [b"not json", b"{}", b'{"choices": []}', b"[]"])
def test_what_is_no_reply_is_an_error(body):
    with (
        loopback_http(lambda _: (200, {}, body)) as server,
        pytest.raises(ModelError, match="judge: no reply"),
    ):
        EndpointJudge("m", server.url).reply(judge_prompt("q", "a", "p"))


def test_a_reply_without_text_is_empty():
    with loopback_http(lambda _: chat_answer(None)) as server:
        assert EndpointJudge("m", server.url).reply(judge_prompt("q", "a", "p")).text == ""


def test_a_server_that_is_not_there_is_an_error():
    with loopback_http(lambda _: chat_answer("")) as server:
        url = server.url
    with pytest.raises(ModelError, match="judge: no reply"):
        EndpointJudge("m", url, longest_wait_s=0.01).reply(judge_prompt("q", "a", "p"))


@pytest.fixture(scope="module")
def tiny_judge(tmp_path_factory):
    return save_tiny_judge(tmp_path_factory.mktemp("judge") / "tiny-instruct")


def test_a_local_model_says_the_same_again_and_names_its_weights(tiny_judge):
    prompt = judge_prompt("what is it", "a cup", "the cup")
    first, second = (LocalJudge(tiny_judge, max_reply_tokens=8) for _ in range(2))
    found = first.reply(prompt)
    assert found == second.reply(prompt)
    assert found.text
    assert first.name == "tiny-instruct"
    assert len(found.version) == 16
    assert found.version in first.settings
    assert first.settings == second.settings != LocalJudge(tiny_judge).settings


def test_what_is_no_local_judge_is_refused(tmp_path, tiny_judge):
    with pytest.raises(ModelError, match="cannot be loaded"):
        LocalJudge(tmp_path)
    bare = tmp_path / "bare"
    tiny_model("qwen2").save_pretrained(bare)
    (bare / "tokenizer.json").write_bytes((tiny_judge / "tokenizer.json").read_bytes())
    with pytest.raises(ModelError, match="no chat template"):
        LocalJudge(bare)


def test_a_bad_reply_is_asked_for_again_as_often_as_the_judge_allows(tmp_path):
    judge = Scripted("hm", "{'pred': 'no', 'score': 1}")
    assert Judging(judge, tmp_path / "a.jsonl").judge_answer("q", "a", "p").judgement == NO
    assert judge.num_asked == 2
    judge = Scripted("hm", "hm", "no")
    judged = Judging(judge, tmp_path / "b.jsonl").judge_answer("q", "a", "p")
    assert (judged.judgement, judged.label, judged.reply.text) == (None, "unreadable", "no")


def test_nothing_that_was_judged_is_asked_for_again(tmp_path):
    file = tmp_path / "replies.jsonl"
    first = Judging(Scripted("hm", "{'pred': 'yes', 'score': 4}"), file)
    judged = first.judge_answer("q", "a", "p")
    silent = Scripted()
    again = Judging(silent, file)
    assert again.judge_answer("q", "a", "p") == judged
    assert again.versions == {"v1": 1}
    assert silent.num_asked == 0
    for changed in (("q", "a", "P"), ("q", "A", "p"), ("Q", "a", "p")):
        with pytest.raises(IndexError):
            again.judge_answer(*changed)


def test_another_judge_or_setting_does_not_see_the_replies(tmp_path):
    file = tmp_path / "replies.jsonl"
    Judging(Scripted("{'pred': 'yes', 'score': 4}"), file).judge_answer("q", "a", "p")
    other = Scripted("{'pred': 'no', 'score': 1}")
    other.settings = "temperature=1"
    assert Judging(other, file).judge_answer("q", "a", "p").judgement == NO
    kept = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["settings"] for line in kept] == ["none", "temperature=1"]
    assert {line["judge"] for line in kept} == {"scripted"}
    assert {line["version"] for line in kept} == {"v1"}
