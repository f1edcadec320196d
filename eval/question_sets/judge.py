"""Judge says whether an answer is right, and rates it from 0 to 5.

Source: the judge of Video-ChatGPT, as VStream-QA uses it: the prompt, temperature 0 and 300 tokens
of github.com/Becomebright/ReKV at 63793f7, video_qa/eval/eval_open_ended.py; the prompt is letter
for letter the same in github.com/IVGSZ/Flash-VStream at 8f6bde2. Both read a reply as a Python
literal; so does `read_judgement`. After a bad reply they ask again, the one without end, the
other up to a hundred times, and then leave the question out.
"""

import ast
from dataclasses import dataclass
from typing import Protocol

MAX_REPLY_TOKENS = 300

_SYSTEM = (
    "You are an intelligent chatbot designed for evaluating the correctness of generative outputs "
    "for question-answer pairs. Your task is to compare the predicted answer with the correct "
    "answer and determine if they match meaningfully. Here's how you can accomplish the task:------"
    "##INSTRUCTIONS: - Focus on the meaningful match between the predicted answer and the correct "
    "answer.\n- Consider synonyms or paraphrases as valid matches.\n- Evaluate the correctness of "
    "the prediction compared to the answer."
)
_USER = (
    "Please evaluate the following video-based question-answer pair:\n\nQuestion: {}\nCorrect "
    "Answer: {}\nPredicted Answer: {}\n\nProvide your evaluation only as a yes/no and score where "
    "the score is an integer value between 0 and 5, with 5 indicating the highest meaningful "
    "match. Please generate the response in the form of a Python dictionary string with keys "
    "'pred' and 'score', where value of 'pred' is  a string of 'yes' or 'no' and value of 'score' "
    "is in INTEGER, not STRING.DO NOT PROVIDE ANY OTHER OUTPUT TEXT OR EXPLANATION. Only provide "
    "the Python dictionary string. For example, your response should look like this: "
    "{{'pred': 'yes', 'score': 4.8}}."
)


@dataclass(frozen=True)
class JudgePrompt:
    system: str
    user: str

    def messages(self) -> list[dict[str, str]]:
        """As chat templates and servers take them."""
        return [{"role": "system", "content": self.system}, {"role": "user", "content": self.user}]


@dataclass(frozen=True)
class JudgeReply:
    """What a judge said; `version` is what it says of itself, or the fingerprint of its weights."""

    text: str
    version: str


@dataclass(frozen=True)
class Judgement:
    """`is_yes` is None if the reply says neither yes nor no."""

    is_yes: bool | None
    rating: int


class Judge(Protocol):
    """A language model that judges; asked from `num_parallel` threads at once.

    `settings` are all that its replies depend on but for its name. `num_attempts`: so often a bad
    reply is asked for again; once, where it would be the same again.
    """

    name: str
    settings: str
    num_parallel: int
    num_attempts: int

    def reply(self, prompt: JudgePrompt) -> JudgeReply: ...


def judge_prompt(question: str, answer: str, given: str) -> JudgePrompt:
    """As published."""
    return JudgePrompt(_SYSTEM, _USER.format(question, answer, given))


def read_judgement(reply: str) -> Judgement | None:
    """None if it is not the literal that was asked for. ReKV takes "prev" for "pred", too."""
    try:
        document = ast.literal_eval(reply)
        verdict = document["pred"] if "pred" in document else document["prev"]
        said, rating = verdict.lower(), int(document["score"])
    except (ValueError, SyntaxError, TypeError, KeyError, AttributeError, OverflowError):
        return None
    except (MemoryError, RecursionError):  # how ast.literal_eval meets nesting that is too deep
        return None
    return Judgement(True if "yes" in said else False if "no" in said else None, rating)
