"""streaming_llm: attention sinks and a window that slides block by block.

Source: StreamingLLM (Xiao et al., ICLR 2024, https://arxiv.org/abs/2309.17453), section 3.2: the
first tokens of the stream and the newest ones, at contiguous positions inside the cache.
"""

from pydantic import Field

from memory.errors import PolicyError
from memory.policies.policy import Card, Encoding, ModelShape, PolicySettings
from memory.policies.window import Window, WindowSettings


class StreamingLLMSettings(WindowSettings):
    """How much is kept besides the newest frames."""

    sinks: int | None = Field(
        None,
        ge=0,
        description="First tokens of the prompt's prefix that always stay; 4 in the paper. Unset: "
        "the whole prefix.",
    )


class StreamingLLM(Window):
    """Unlike the paper, moves the cache by whole blocks and keeps the whole prefix as sinks. With
    blocks of one token it is the paper's rule. A block sees one block fewer than the cache holds,
    because the cache evicts one for each new one.
    """

    name = "streaming_llm"
    card = Card(
        paper="StreamingLLM (Xiao et al., ICLR 2024), arXiv 2309.17453",
        keeps="attention sinks (the prefix) and the newest blocks, which see no others either",
        differs="the sinks are the prompt's whole prefix unless `sinks` says how many tokens of "
        "it; the cache moves by blocks, not by tokens, and with each, so that ingest takes twice "
        "the CPU time of default",
        is_exact=False,
    )
    Settings = StreamingLLMSettings
    settings: StreamingLLMSettings

    def __init__(self, shape: ModelShape, settings: PolicySettings) -> None:
        super().__init__(shape, settings)
        sinks = self.settings.sinks
        if sinks is not None and sinks > shape.prefix_tokens():
            raise PolicyError(
                f"policy streaming_llm: sinks = {sinks}, but this model's prefix has only "
                f"{shape.prefix_tokens()} tokens"
            )

    def encoding(self) -> Encoding:
        return Encoding(self.recent_blocks(), 1, chunk_blocks=1, sinks=self.settings.sinks)
