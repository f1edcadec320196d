"""made_up_tokenizer: a family in, a byte-level BPE tokenizer of a few hundred entries out."""

from collections.abc import Sequence

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

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


def made_up_tokenizer(family: str) -> Tokenizer:
    """For a checkpoint of this family; the ids are not those of the published ones."""
    if family == "llava_onevision":
        return chat_tokenizer([*QWEN2, "<image>", "<video>"])
    tokenizer = chat_tokenizer(QWEN_VL)
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in NOT_SPECIAL])
    return tokenizer


def chat_tokenizer(special: Sequence[str]) -> Tokenizer:
    tokenizer = byte_level_tokenizer()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(list(special))
    return tokenizer


def byte_level_tokenizer(first: Sequence[str] = ()) -> Tokenizer:
    """`first`, all bytes, and each word built up letter by letter, with and without a space."""
    entries = [*first, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    merges: list[tuple[str, str]] = []
    for word in WORDS:
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
