"""`python -m eval passkey` hides keys in a long text and asks for each of them.

Source: passkey retrieval (Mohtashami and Jaggi 2023, https://arxiv.org/abs/2305.16300), with the
usual filler. Differs: ten keys lie in one text, in its first four fifths, so that one pass tests
all of them. Each is another kind of fact: a small model cannot tell ten similar keys apart, even if
it reads all of them. As there, the answer is started for the model ("The pass key is"), so that it
says the key rather than talking about it.

Contenders that encode the same blocks share the pass, whatever they keep: each has its own memory,
which encodes the exact blocks as they come.
"""

import json
import random
from collections.abc import Hashable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Annotated

import typer

from eval.command_line import AsJson, refusals
from eval.play.contender import Contender, parse_contenders
from eval.play.kept import stored_bytes
from eval.play.options import CONTENDER_FORM
from eval.play.settings import PlaySettings
from eval.result_table import ResultTable, show, show_document
from eval.speed.subject import passing_session, ready_model, roomy_config
from memory import KVBlock
from memory.codecs.codec import block_of
from memory.policies import POLICIES
from vstream import Question, Session, SettingsError, VideoLLM

FILLER = (
    " The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again."
)
SECRET = " {begun} {word}. Remember it: {fact} {word}."
FACTS = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
"""How each is stated, how it is asked for, and words to draw from; a number, if none."""
_HIDDEN_IN = 0.8
_PART_FILLERS, _CHUNK_TOKENS, _ANSWER_TOKENS = 10, 256, 8


@dataclass(frozen=True)
class Key:
    """`begun` is the answer up to the `word`; `blocks` hold the key's sentences."""

    question: str
    begun: str
    word: str
    blocks: range


@dataclass(frozen=True)
class Found:
    """`recall` is the mean share of a key's blocks that a question read, over all layers;
    `kept_bytes` is the size of the store at the end.
    """

    contender: str
    right: int
    asked: int
    recall: float
    kept_bytes: int
    said: tuple[str, ...]


def passkey(
    contenders: Annotated[
        list[str],
        typer.Option("--contender", metavar=CONTENDER_FORM, help="Who is asked; may be repeated."),
    ],
    tokens: Annotated[int, typer.Option(min=1000, help="Length of the text, in tokens.")] = 8000,
    seed: Annotated[int, typer.Option(min=0, help="Draws the keys and their order.")] = 0,
    as_json: AsJson = False,
) -> None:
    """How many of the keys that lie hidden in a long text are found (VSTREAM_MODEL: of text)."""
    with refusals():
        found = measure_passkeys(ready_model(), contenders, tokens, seed)
    rows = {
        one.contender: {
            "right": f"{one.right} of {one.asked}",
            "recall": f"{one.recall:.2f}",
            "MB kept": f"{one.kept_bytes / 1e6:.1f}",
        }
        for one in found
    }
    note = "recall: the share of a key's blocks that a question read, over all layers"
    title = f"Keys found in {tokens} tokens"
    show([ResultTable.of(title, rows, note, corner="contender")])
    if as_json:
        show_document([asdict(one) for one in found])


def measure_passkeys(
    model: VideoLLM, contenders: Sequence[str], tokens: int, seed: int = 0
) -> list[Found]:
    """Measure each contender, in the order given. Raises SettingsError, ModelError, PolicyError."""
    config = roomy_config()
    engine = config.engine.model_copy(update={"chunk_frames": _CHUNK_TOKENS})
    settings = PlaySettings(config.model_copy(update={"engine": engine}), _ANSWER_TOKENS)
    named = parse_contenders(contenders)
    passes: dict[Hashable, list[Contender]] = {}
    for one in named:
        if one.policy not in POLICIES.names() or one.budget is not None:
            raise SettingsError(f"contender: {one.name}: wanted a memory policy without a budget")
        policy = settings.policy(one, model)
        notes = policy.has("note") or policy.has("wishes")
        made_by = replace(one, codec="").name if notes else ""
        passes.setdefault((policy.encoding(), made_by), []).append(one)
    text = _Text(model, tokens, seed)
    found = [one for group in passes.values() for one in _passed(model, settings, group, text)]
    return [one for name in named for one in found if one.contender == name.name]


class _Text:
    """Filler with keys in it. Sentences start with their space, so parts tokenize independently."""

    def __init__(self, model: VideoLLM, tokens: int, seed: int) -> None:
        self._family = model.family
        self._fillers = tokens // self._length(FILLER)
        drawn = random.Random(seed)
        facts = drawn.sample(FACTS, len(FACTS))
        step = _HIDDEN_IN * self._fillers / len(facts)
        self._hidden = {
            int(step * (i + 0.5)): (
                fact["stated"],
                fact["question"],
                drawn.choice(fact["words"].split()) if fact["words"] else digits,
            )
            for i, fact in enumerate(facts)
            for digits in [str(drawn.randrange(10_000, 100_000))]
        }
        self.keys: list[Key] = []

    def parts(self) -> Iterator[str]:
        self.keys, part, before = [], "", 0
        for number in range(self._fillers):
            if number in self._hidden:
                fact, question, word = self._hidden[number]
                begun = fact.capitalize()
                secret = SECRET.format(begun=begun, fact=fact, word=word)
                size = self._family.frames_per_block
                last = before + self._length(secret) - 1
                self.keys.append(
                    Key(question, begun, word, range(before // size, last // size + 1))
                )
                part, before = part + secret, last + 1
            part, before = part + FILLER, before + self._length(FILLER)
            if number % _PART_FILLERS == _PART_FILLERS - 1:
                yield part
                part = ""
        yield part

    def _length(self, text: str) -> int:
        return len(self._family.token_ids(text))


def _passed(
    model: VideoLLM, settings: PlaySettings, group: Sequence[Contender], text: _Text
) -> list[Found]:
    with ExitStack() as stack:
        exact = settings.configured(replace(group[0], codec="exact"))
        source = stack.enter_context(passing_session(exact, model))
        asked = [
            stack.enter_context(passing_session(settings.configured(one), model)) for one in group
        ]
        for part in text.parts():
            known = source.memory.num_blocks
            source.push_text(part)
            for block_id in range(known, source.memory.num_blocks):
                block = exact_block(source, block_id)
                for one in asked:
                    one.memory.append(block)
        for one in asked:
            one.memory.note_state(source.memory.state)
        return [_found(one, session, text) for one, session in zip(group, asked, strict=True)]


def exact_block(source: Session, block_id: int) -> KVBlock:
    """Return a block as it was encoded, from a memory with an exact codec; without its picture."""
    record = source.memory._store.read_record(block_id)
    return replace(block_of(record), thumbnail=b"", index=None)


def _found(contender: Contender, session: Session, text: _Text) -> Found:
    said, recalls, right = [], [], 0
    for key in text.keys:
        answer = session.ask(Question(key.question, answer_start=key.begun)).answer
        said.append(answer.text)
        right += key.word in answer.text
        read = sum(one.num_layers for one in answer.evidence if one.block_id in key.blocks)
        recalls.append(read / len(key.blocks) / session.model.decoder.num_layers)
    kept = stored_bytes(session.memory.stats())
    return Found(contender.name, right, len(said), fmean(recalls), kept, tuple(said))
