"""Grammar: says which tokens may come next in an answer that follows a JSON schema.

llguidance follows the schema byte by byte and reports which tokens of the vocabulary fit. Schemas
come from anyone, so their size is bounded, nothing they refer to is fetched, llguidance bounds what
they cost to follow, and a process that may be killed bounds what they cost to compile.
"""

import json
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import numpy as np
import torch
from jaxtyping import Bool
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from torch import Tensor

from encoders import Family
from memory.locks import Rank, ranked_lock
from vstream.decoding.grammar_trials import GrammarTrials, Newest
from vstream.device.asker import Asker
from vstream.errors import QuestionError

MAX_SCHEMA_BYTES = 64 * 1024
_MOST_COMPILED = 16
"""Per vocabulary; each takes a few megabytes."""
_ANY_OBJECT = '{"type": "object"}'
_LIMITS = LLParserLimits(verbose_errors=False)
_WRITABLE = "".join(map(chr, range(0x20, 0x7F)))
"""The letters that JSON needs; others can be escaped."""


@dataclass
class Vocabulary:
    """A family's tokenizer and the grammars compiled for it."""

    tokenizer: LLTokenizer
    compiled: Newest[str, LLMatcher] = field(default_factory=lambda: Newest(_MOST_COMPILED))


_vocabularies: WeakKeyDictionary[Family, Vocabulary] = WeakKeyDictionary()
_vocabularies_lock = ranked_lock(Rank.VOCABULARIES)
_trials = GrammarTrials()


class Grammar:
    """One answer's progress through a grammar. Belongs to one thread at a time."""

    def __init__(self, matcher: LLMatcher) -> None:
        self._matcher = matcher

    @property
    def is_complete(self) -> bool:
        """Whether the answer is complete and nothing may follow."""
        return bool(self._matcher.is_stopped())

    def allowed(self) -> Bool[Tensor, " vocabulary"]:
        """Return which tokens may come next, never none. Past the vocabulary it is False."""
        packed = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        self._refuse_errors()
        return torch.from_numpy(np.unpackbits(packed, bitorder="little").view(np.bool_))

    def advance(self, token: int) -> None:
        """Move on past `token`, which must be allowed and not a stop id."""
        self._matcher.consume_token(token)
        self._refuse_errors()

    def _refuse_errors(self) -> None:
        if self._matcher.is_error():
            raise QuestionError(_refusal("cannot be followed", self._matcher.get_error()))


def open_grammar(schema: str | None, family: Family, asker: Asker | None = None) -> Grammar:
    """Return the grammar of a JSON schema, or of any JSON object, for one answer.

    Raises QuestionError for a schema that is too large, invalid or too costly, and for a family
    whose vocabulary cannot write JSON; BusyError if too many schemas wait to be tried;
    CancelledError if the asker leaves meanwhile.
    """
    vocabulary = vocabulary_of(family)
    grammar = _grammar_of(_ANY_OBJECT if schema is None else schema)
    compiled = vocabulary.compiled.get(grammar)
    if compiled is None:
        with _trials.turn(grammar, asker or Asker()) as problem:
            if problem:
                raise QuestionError(_refusal("cannot be used", problem))
            compiled = vocabulary.compiled.get(grammar)
            if compiled is None:
                compiled = LLMatcher(vocabulary.tokenizer, grammar, log_level=0, limits=_LIMITS)
                vocabulary.compiled.put(grammar, compiled)
    if compiled.is_error():
        raise QuestionError(_refusal("cannot be used", compiled.get_error()))
    return Grammar(compiled.deep_copy())


def vocabulary_of(family: Family) -> Vocabulary:
    """Return a family's vocabulary, made once, in a second. Raises QuestionError."""
    with _vocabularies_lock:
        if family not in _vocabularies:
            _vocabularies[family] = Vocabulary(_make_tokenizer(family))
        return _vocabularies[family]


def _make_tokenizer(family: Family) -> LLTokenizer:
    try:
        tokenizer = LLTokenizer(
            _as_written(family.tokenizer_json()),
            n_vocab=family.vocabulary_size,
            eos_token=sorted(family.stop_ids),
            slices=LLTokenizer.json_slices(),
        )
    except ValueError as error:
        raise QuestionError(
            f"schema: the tokenizer of {family.name} cannot be guided ({error}): ask without one"
        ) from error
    missing = [
        letter
        for letter in _WRITABLE
        if tokenizer.decode_bytes(tokenizer.greedy_tokenize(letter)) != letter.encode()
    ]
    if missing:
        raise QuestionError(
            f"schema: this model's vocabulary cannot write {''.join(missing)}, so it cannot write "
            "JSON: ask without a schema"
        )
    return tokenizer


def _as_written(tokenizer: str) -> str:
    """Drop a normalizer that lowercases: it would mistake the names of fields for others."""
    parsed = json.loads(tokenizer)
    if (parsed.get("normalizer") or {}).get("type") == "Lowercase":
        parsed["normalizer"] = None
    return json.dumps(parsed)


def _grammar_of(schema: str) -> str:
    try:
        grammar: str = LLMatcher.grammar_from_json_schema(
            schema,
            overrides={  # all of them, so that no "x-guidance" in a schema can set one
                "item_separator": ",",
                "key_separator": ":",
                "whitespace_flexible": True,
                "whitespace_pattern": "[ ]?",  # some models would write spaces forever
                "coerce_one_of": False,
                "lenient": False,
            },
        )
    except ValueError as error:
        raise QuestionError(_refusal("is no JSON schema that can be read", str(error))) from error
    return grammar


def _refusal(what: str, reason: str) -> str:
    """Keep the first lines of llguidance's reason; the state of its parser follows them."""
    lines = reason.split("<state>")[0].split("<non-verbose/>")[0].strip().splitlines()
    return f"schema: it {what}: {' '.join(line.strip() for line in lines)[:300]}"
