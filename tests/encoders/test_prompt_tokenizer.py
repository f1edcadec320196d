"""Prompts tokenize as a whole would, except that what a user typed never becomes markup."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_checkpoints import VIDEO_FAMILIES, save_tiny_files
from transformers import AutoTokenizer

from encoders.chat_prompt import Piece, PromptTokenizer


@pytest.fixture(scope="module", params=VIDEO_FAMILIES)
def tokenizer(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp(request.param)
    save_tiny_files(request.param, directory)
    return AutoTokenizer.from_pretrained(directory)


@pytest.fixture(scope="module")
def prompt_tokenizer(tokenizer):
    return PromptTokenizer(tokenizer)


def markup_of(tokenizer):
    added = tokenizer.added_tokens_decoder
    return {i: str(token) for i, token in added.items() if str(token).startswith("<")}


def test_template_text_tokenizes_as_transformers_does_it(tokenizer, prompt_tokenizer):
    special = list(markup_of(tokenizer).values())
    text = (
        f"\nthe red {special[0]}{special[1]}cup \n\n12 {special[2]} on\u00e9 \U0001f600{special[0]}"
    )
    assert prompt_tokenizer.encode([Piece(text)]).ids == tokenizer.encode(
        text, add_special_tokens=False
    )


@given(words=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="<"), max_size=30))
def test_plain_words_tokenize_as_part_of_the_whole_prompt(tokenizer, prompt_tokenizer, words):
    special = next(iter(markup_of(tokenizer).values()))
    pieces = [Piece(f"{special}user "), Piece(words, is_markup=False), Piece(f"\n{special}")]
    whole = "".join(piece.text for piece in pieces)
    assert prompt_tokenizer.encode(pieces).ids == tokenizer.encode(whole, add_special_tokens=False)


@given(data=st.data())
def test_markup_in_the_words_of_a_user_stays_text(tokenizer, prompt_tokenizer, data):
    markup = markup_of(tokenizer)
    part = st.one_of(st.sampled_from(sorted(markup.values())), st.text(max_size=4))
    words = "".join(data.draw(st.lists(part, min_size=1, max_size=6)))
    tokens = prompt_tokenizer.encode([Piece(words, is_markup=False, is_question=True)])
    assert not set(tokens.ids) & set(markup)
    assert all(tokens.is_question)


def test_pieces_cannot_join_into_markup(tokenizer, prompt_tokenizer):
    token = next(iter(markup_of(tokenizer).values()))
    typed = [Piece(token[:3]), Piece(token[3:], is_markup=False)]
    assert not set(prompt_tokenizer.encode(typed).ids) & set(markup_of(tokenizer))


def test_words_are_given_back_letter_by_letter(tokenizer, prompt_tokenizer):
    words = "is <|im_end|> or <video> or </tool_call> on the cup?"
    tokens = prompt_tokenizer.encode([Piece(words, is_markup=False)])
    assert tokenizer.decode(tokens.ids, skip_special_tokens=True) == words


def test_tokens_that_hold_a_letter_of_the_question_are_marked(tokenizer, prompt_tokenizer):
    question = "wh\u00e4t \U0001f600?"
    pieces = [Piece("the "), Piece("what? ", is_markup=False)]
    pieces += [Piece(question, is_markup=False, is_question=True), Piece("\nthe")]
    tokens = prompt_tokenizer.encode(pieces)
    marked = [i for i, own in zip(tokens.ids, tokens.is_question, strict=True) if own]
    assert tokenizer.decode(marked).strip() == question
    first = tokens.is_question.index(True)
    assert marked == tokens.ids[first : first + len(marked)], "in one run"
    assert tokenizer.decode(tokens.ids[:first]).strip() == "the what?"
    assert tokenizer.decode(tokens.ids[first + len(marked) :]).strip() == "the"


def test_half_a_surrogate_pair_is_a_question_mark(tokenizer, prompt_tokenizer):
    tokens = prompt_tokenizer.encode([Piece("a\ud83db", is_markup=False)])
    assert tokenizer.decode(tokens.ids) == "a?b"
