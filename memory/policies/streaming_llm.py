"""streaming_llm: attention sinks and a window that slides block by block.

Source: StreamingLLM (Xiao et al., ICLR 2024, https://arxiv.org/abs/2309.17453), section 3.2: the
first tokens of the stream and the newest ones, at contiguous positions inside the cache.
"""

from memory.policies.policy import Card, Encoding
from memory.policies.window import Window


class StreamingLLM(Window):
    """Differs from the paper: the sinks are the prompt's prefix; the cache moves by whole blocks.

    So a block sees one block less than the cache holds, as the cache loses one for each that comes.
    """

    name = "streaming_llm"
    card = Card(
        paper="StreamingLLM (Xiao et al., ICLR 2024), arXiv 2309.17453",
        keeps="attention sinks (the prefix) and the newest blocks, which see no others either",
        differs="the sinks are the prompt's prefix; the cache moves by blocks, not by tokens",
        is_exact=False,
    )

    def encoding(self) -> Encoding:
        return Encoding(self.recent_blocks(), 1, chunk_blocks=1)
