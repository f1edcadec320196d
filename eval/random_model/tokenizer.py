"""made_up_tokenizer: a family in, a byte-level BPE tokenizer of a few hundred entries out."""

from collections.abc import Sequence

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

WORDS = ["the", "is", "what", "how", "many", "on", "red", "cup", "table", "dog", "frame", "seconds"]
WORDS += ["user", "assistant", "system", "video", "of", "are", "you", "helpful", "from", "series"]
WORDS += ["yes", "Yes", "no", "No", "not", "now"]

QWEN2 = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
QWEN_VL = [
    *QWEN2,
    *("<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"),
]
NOT_SPECIAL = ["<tool_call>", "</tool_call>"]
"""Added to Qwen's tokenizers without being called special."""
SMOLVLM = [
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<fake_token_around_image>", "<image>"),
    *("<global-img>", "<row_1_col_1>", "<end_of_utterance>"),
]
EMBEDDED = ["<|pad|>", "<|bos|>", "<|user|>", "<|assistant|>", "<|end|>", "<image>"]
TIME_WORDS = [
    *(f"{hour}h" for hour in range(24)),
    *(f"{minute:02d}m" for minute in range(60)),
    *(f"{second:02d}s" for second in range(60)),
]


def made_up_tokenizer(family: str) -> Tokenizer:
    """For a checkpoint of this family; the ids are not those of the published ones."""
    if family == "embedded":
        return _embedded_tokenizer()
    special = {
        "llava_onevision": [*QWEN2, "<image>", "<video>"],
        "qwen2_5_vl": QWEN_VL,
        "qwen3_vl": QWEN_VL,
        "smolvlm": SMOLVLM,
    }[family]
    tokenizer = _byte_level(WORDS)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(special)
    if special is QWEN_VL:
        tokenizer.add_tokens([AddedToken(token, normalized=False) for token in NOT_SPECIAL])
    return tokenizer


def _embedded_tokenizer() -> Tokenizer:
    """Special tokens first, words in lower case, numbers cut in pairs of digits, time words."""
    tokenizer = _byte_level(WORDS, first=EMBEDDED)
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\d{1,2}"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.add_special_tokens(EMBEDDED)
    tokenizer.add_tokens([AddedToken(word, normalized=False) for word in TIME_WORDS])
    return tokenizer


def _byte_level(words: Sequence[str], first: Sequence[str] = ()) -> Tokenizer:
    """All bytes, then each word built up letter by letter, with and without a space before it."""
    entries = [*first, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    merges: list[tuple[str, str]] = []
    for word in words:
        for spelling in ("\u0120" + word, word):  # how byte-level BPE writes a space
            for end in range(2, len(spelling) + 1):
                merge = (spelling[: end - 1], spelling[end - 1])
                if merge not in merges:
                    merges.append(merge)
                    entries.append("".join(merge))
    vocabulary = {entry: number for number, entry in enumerate(dict.fromkeys(entries))}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer
