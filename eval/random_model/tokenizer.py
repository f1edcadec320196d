"""made_up_tokenizer: special tokens in, a byte-level BPE tokenizer of a few hundred entries out."""

from collections.abc import Sequence

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

WORDS = ["the", "is", "what", "how", "many", "on", "red", "cup", "table", "dog", "frame", "seconds"]
WORDS += ["user", "assistant", "system", "video", "of", "are", "you", "helpful", "from", "series"]
WORDS += ["yes", "Yes", "no", "No", "not", "now"]


def made_up_tokenizer(special: Sequence[str], not_special: Sequence[str] = ()) -> Tokenizer:
    """The ids are not those of published ones; `not_special` are added without being called so."""
    tokenizer = byte_level()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(list(special))
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in not_special])
    return tokenizer


def byte_level(first: Sequence[str] = ()) -> Tokenizer:
    """All bytes, then each word built up letter by letter, with and without a space before it."""
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
