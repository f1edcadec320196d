"""JSON by a schema: every answer that ends is valid, whatever the model wants; no schema harms."""

import json
import socket
import threading
import time

import jsonschema
import pytest
import torch
from decode_loop import decode, decoder_logits, noise
from engine import open_session, stream_frames, tiny_video_llm
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_checkpoints import VIDEO_FAMILIES, tiny_family, tiny_model

from vstream.decoding.grammar import MAX_SCHEMA_BYTES, open_grammar, vocabulary_of
from vstream.decoding.token_choice import Decoding, TokenChoice
from vstream.errors import QuestionError
from vstream.models.video_llm import load_video_llm

SHORT = {"type": "string", "maxLength": 6}
PERSON = {
    "type": "object",
    "properties": {
        "name": SHORT,
        "age": {"type": "integer", "minimum": 0, "maximum": 130},
        "seen": {"type": "array", "items": {"$ref": "#/$defs/moment"}, "maxItems": 2},
    },
    "required": ["name", "seen"],
    "additionalProperties": False,
    "$defs": {
        "moment": {
            "type": "object",
            "properties": {
                "at": {"type": "string", "pattern": "^[0-9]{2}:[0-5][0-9]$"},
                "sure": {"type": "boolean"},
            },
            "required": ["at", "sure"],
            "additionalProperties": False,
        }
    },
}
BOUNDED = [
    {"enum": ["yes", "no", "Grün ☃", 'a "quote"\n', 3, None]},
    {"type": "array", "items": {"type": "integer", "minimum": -5, "maximum": 12}, "maxItems": 3},
    {"type": "array", "items": {"anyOf": [SHORT, {"type": "null"}]}, "minItems": 2, "maxItems": 3},
    {"type": "string", "format": "date"},
    {"const": {"a": [1, 2, {"b": "c"}]}},
    {"oneOf": [{"type": "boolean"}, {"type": "integer", "minimum": 1, "maximum": 9}]},
    PERSON,
]
"""Every answer to these comes to an end by itself."""
OPEN = [
    {"type": "number"},
    {"type": "number", "minimum": 0.5, "maximum": 2.25},
    {"type": "object"},
    {"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 1},
    {"type": "array", "items": {"$ref": "#"}},
    {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
]
"""Answers to these may go on for ever."""


@pytest.fixture(scope="module", params=VIDEO_FAMILIES)
def family(request):
    return tiny_family(request.param, tiny_model(request.param))


@pytest.fixture(scope="module")
def qwen():
    return tiny_family("qwen3_vl", tiny_model("qwen3_vl"))


def check(text, schema):
    jsonschema.validate(json.loads(text), schema, cls=jsonschema.Draft202012Validator)


@given(st.sampled_from(BOUNDED), st.integers(0, 2**32), st.sampled_from([0.0, 1.0]))
@settings(max_examples=25)
def test_random_logits_give_valid_json_that_ends(family, schema, seed, temperature):
    decoding = Decoding(schema=json.dumps(schema), temperature=temperature, seed=seed)
    decoded = decode(decoding, family, noise(family, seed, padding=40))
    assert not decoded.truncated
    assert "".join(decoded.pieces) == decoded.text
    check(decoded.text, schema)


@given(st.sampled_from(OPEN), st.integers(0, 2**32))
@settings(max_examples=25)
def test_what_ends_is_valid_and_what_does_not_is_truncated(family, schema, seed):
    decoding = Decoding(schema=json.dumps(schema), temperature=1.0, seed=seed, max_tokens=60)
    decoded = decode(decoding, family, hasty(family, seed))
    if decoded.truncated:
        assert len(decoded.token_ids) == 60
    else:
        check(decoded.text, schema)


def hasty(family, seed):
    """Noise of a model that likes to close what it has opened."""
    tokenizer = vocabulary_of(family).tokenizer
    closing = [tokenizer.greedy_tokenize(letter)[0] for letter in '"}]:']
    source = noise(family, seed, scale=1.0)

    def logits_after(token):
        logits = source(token)
        logits[[*closing, *family.stop_ids]] += 5
        return logits

    return logits_after


@pytest.mark.parametrize("schema", [None, *map(json.dumps, OPEN)])
def test_open_answers_of_a_hasty_model_do_end(family, schema):
    decoding = Decoding(schema=schema, json_object=schema is None, temperature=1.0, seed=0)
    decoded = [decode(decoding, family, hasty(family, seed)) for seed in range(3)]
    ended = [each.text for each in decoded if not each.truncated]
    assert ended
    for text in ended:
        check(text, json.loads(schema) if schema else {"type": "object"})


@given(st.sampled_from([*BOUNDED, *OPEN]), st.integers(0, 2**32))
@settings(max_examples=25)
def test_the_best_of_the_allowed_is_chosen_and_its_own_probability_told(qwen, schema, seed):
    text = json.dumps(schema)
    choice, grammar = TokenChoice(Decoding(schema=text), qwen), open_grammar(text, qwen)
    source, token = noise(qwen, seed), None
    for _ in range(30):
        logits = source(token)
        allowed = grammar.allowed()
        assert not allowed[qwen.vocabulary_size :].any()
        token, probability = choice.choose(logits)
        assert allowed[token]
        assert logits[token] == logits[allowed[: len(logits)]].max()
        assert probability == float(logits.softmax(dim=0)[token])
        if token in qwen.stop_ids:
            break
        grammar.advance(token)
        if choice.is_done(token):
            assert grammar.is_complete
            break


@pytest.mark.parametrize("limit", [1, 5])
def test_json_cut_by_the_limit_is_truncated(qwen, limit):
    decoding = Decoding(schema=json.dumps(PERSON), max_tokens=limit)
    decoded = decode(decoding, qwen, noise(qwen, 0))
    assert decoded.truncated
    assert len(decoded.token_ids) == limit


@pytest.mark.parametrize("name", VIDEO_FAMILIES)
def test_a_tiny_decoder_answers_with_json(name):
    model, _ = tiny_video_llm(name)
    session = open_session(model, retrieve_blocks=3, recent_frames=2)
    session.push(stream_frames(8 * model.family.frames_per_block))
    for schema in BOUNDED:
        decoding = Decoding(schema=json.dumps(schema))
        decoded = decode(decoding, model.family, decoder_logits(session, "what is on the table?"))
        assert not decoded.truncated
        check(decoded.text, schema)


def test_the_embedded_model_answers_with_json():
    model = load_video_llm(None, device="cpu", dtype="float32")
    session = open_session(model)
    session.push(stream_frames(4))
    color = {"enum": ["red", "green", "Blue"]}
    schema = {
        "type": "object",
        "properties": {"color": color, "count": {"type": "integer", "minimum": 0, "maximum": 9}},
        "required": ["color", "count"],
        "additionalProperties": False,
    }
    decoding = Decoding(schema=json.dumps(schema))
    decoded = decode(decoding, model.family, decoder_logits(session, "what color is the car?"))
    assert not decoded.truncated
    check(decoded.text, schema)


def test_special_tokens_never_stand_in_json(family):
    grammar = open_grammar('{"type": "string"}', family)
    tokenizer = vocabulary_of(family).tokenizer
    grammar.advance(tokenizer.greedy_tokenize('"')[0])
    allowed = grammar.allowed()
    special = [i for i in range(family.vocabulary_size) if tokenizer.is_special_token(i)]
    assert allowed.any()
    assert special
    assert not allowed[special].any()


def test_a_vocabulary_without_braces_is_refused():
    model, _ = tiny_video_llm("llama")
    with pytest.raises(QuestionError, match=r"this model's vocabulary cannot write .*{"):
        TokenChoice(Decoding(json_object=True), model.family)


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ("", "EOF"),
        ("no json", "expected"),
        ("[]", "Expecting object"),
        ("\ud800", "not JSON serializable"),
        ('{"const": "\\ud800"}', "surrogate|hex escape"),
        ('{"type": "foo"}', "Invalid type: foo"),
        ('{"enum": []}', "Unsatisfiable"),
        ('{"not": {}}', "Unimplemented"),
        ('{"not": {}, "x-guidance": {"lenient": true}}', "Unimplemented"),
        ('{"type": "string", "pattern": "("}', "unclosed group"),
        ('{"$ref": "#/nowhere"}', "does not exist"),
        ('{"$ref": "file:///etc/passwd"}', "does not fetch"),
        (f'{{"title": "{"x" * MAX_SCHEMA_BYTES}"}}', "too many"),
        ('{"items":' * 5000 + "{}" + "}" * 5000, "recursion limit"),
        (  # whichever bound it meets first
            '{"type": "string", "pattern": "^((a{1000}){1000}){1000}$"}',
            "too many expressions|too much time or memory",
        ),
        ('{"type": "integer", "multipleOf": 30000001}', "too much time or memory"),
    ],
)
def test_bad_and_hostile_schemas_are_refused_in_time(qwen, schema, reason):
    started = time.process_time()
    with pytest.raises(QuestionError, match=f"^schema: .*{reason}"):
        TokenChoice(Decoding(schema=schema), qwen)
    assert time.process_time() - started < 2  # what it costs, it costs another process


def test_nothing_that_a_schema_refers_to_is_fetched(qwen):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/schema.json"
        with pytest.raises(QuestionError, match="does not fetch"):
            TokenChoice(Decoding(schema=json.dumps({"$ref": url})), qwen)
        with pytest.raises(BlockingIOError):
            server.accept()


def test_a_schema_cannot_change_how_json_is_written(qwen):
    schema = {**PERSON, "x-guidance": {"key_separator": " = ", "item_separator": ";"}}
    decoded = decode(Decoding(schema=json.dumps(schema)), qwen, noise(qwen, 1))
    check(decoded.text, PERSON)


def test_a_schema_and_any_object_are_not_both():
    with pytest.raises(QuestionError, match="schema, json_object"):
        Decoding(schema="{}", json_object=True)


def test_a_grammar_that_becomes_too_costly_is_an_error_and_no_garbage(qwen):
    wide = {"type": "object", "properties": {f"p{i}": {} for i in range(1000)}}
    schema = {"type": "object", "properties": {"wide, and first a long name": wide}}
    schema["required"] = list(schema["properties"])
    decoding = Decoding(schema=json.dumps(schema))
    source = noise(qwen, 0)
    with pytest.raises(QuestionError, match=r"^schema: it cannot be followed"):
        decode(decoding, qwen, source)


def test_threads_share_one_tokenizer():
    family = tiny_family("smolvlm", tiny_model("smolvlm"))
    made, barrier = [], threading.Barrier(4)
    tokenizer_json = family.tokenizer_json

    def counted():
        made.append(1)
        return tokenizer_json()

    family.tokenizer_json = counted
    texts = []

    def answer(seed):
        barrier.wait()
        decoding = Decoding(schema=json.dumps(PERSON))
        texts.append(decode(decoding, family, noise(family, seed)).text)

    threads = [threading.Thread(target=answer, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert len(texts) == 4
    for text in texts:
        check(text, PERSON)


def test_the_logits_are_left_alone(qwen):
    logits = noise(qwen, 0)(None).to(torch.bfloat16)
    before = logits.clone()
    TokenChoice(Decoding(json_object=True), qwen).choose(logits)
    assert torch.equal(logits, before)
