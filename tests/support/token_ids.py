"""Embeddings back to the token ids they came from."""


def ids_of(model, embeddings):
    """The id of each row; -1 for rows that are no word, as visual tokens."""
    table = model.get_input_embeddings().weight
    equal = (embeddings[:, None] == table).all(dim=-1)
    return [int(row.int().argmax()) if row.any() else -1 for row in equal]


def text_before(model, tokenizer, block):
    """The text before a block's visual tokens."""
    first = int(block.is_visual.nonzero()[0])
    return tokenizer.decode(ids_of(model, block.embeddings[:first]), skip_special_tokens=False)
