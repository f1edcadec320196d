"""sirllm: blocks as default, and of a long dialogue the tokens that surprised the model most.

Source: SirLLM (Yao et al., ACL 2024, https://arxiv.org/abs/2405.12528), section 3, and its released
code. With h the entropy of a token, -log p(token | text before it), a cache of
`sinks + recent_tokens + entropy_tokens` makes room for a turn of m tokens so:

    stay = the first `sinks`, the (entropy_tokens - m) of largest h, the newest until it is full
    h    = h * decay                                           for what stays, with every turn

The first token of a turn counts as the most surprising one of it.
"""

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from memory.policies.default import Default, DefaultSettings
from memory.policies.policy import Card
from memory.policy_hooks import Dialogue

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor


class SirLLMSettings(DefaultSettings):
    """How much of a dialogue is read; the rest is as under default."""

    entropy_tokens: int = Field(
        508, ge=0, description="Tokens of the dialogue that stay for their entropy."
    )
    recent_tokens: int = Field(
        0, ge=0, description="Newest tokens of the dialogue that stay besides."
    )
    sinks: int = Field(4, ge=0, description="First tokens of the dialogue, which always stay.")
    decay: float = Field(
        0.7, gt=0, le=1, description="With every turn a token's entropy is multiplied by this."
    )
    entropy: Literal["paper", "official"] = Field(
        "paper",
        description="A token's entropy: its own; or as the official code has it, that of the token "
        "before it coming twice.",
    )

    @model_validator(mode="after")
    def _keep_some(self) -> Self:
        if not self.entropy_tokens + self.recent_tokens:
            raise ValueError("entropy_tokens and recent_tokens: a dialogue needs room beside sinks")
        return self


class SirLLM(Default):
    """Without `entropy_tokens` its rule is StreamingLLM's. The official code refuses a turn that is
    longer than `entropy_tokens + recent_tokens`. Here it comes in pieces of that length, so the
    newest piece stays, and what fits of the others.
    """

    name = "sirllm"
    card = Card(
        paper="SirLLM (Yao et al., ACL 2024), arXiv 2405.12528",
        keeps="blocks as default; of a long dialogue the tokens that surprised the model most",
        differs="the dialogue is read again with every question, so a token has seen all of it "
        "before, and there is no cache; a turn longer than the room comes in pieces",
    )
    Settings = SirLLMSettings
    settings: SirLLMSettings

    def kept_dialogue(self, dialogue: Dialogue) -> "Bool[Tensor, ' tokens']":
        import torch

        stays = torch.zeros(len(dialogue.turns), dtype=torch.bool)
        stays[self.remembered(dialogue)[0]] = True
        return stays

    def remembered(
        self, dialogue: Dialogue
    ) -> "tuple[Int[Tensor, ' kept'], Float[Tensor, ' kept']]":
        """Which tokens stay, in order, and what is left of their entropy."""
        import torch

        told = self.settings
        longest = told.entropy_tokens + told.recent_tokens
        kept, worth = torch.empty(0, dtype=torch.long), torch.empty(0, dtype=torch.float64)
        for number in dialogue.turns.unique():
            said = (dialogue.turns == number).nonzero()[:, 0]
            fresh, decay = self.entropies(dialogue, said).double(), told.decay
            for new, its in zip(said.split(longest), fresh.split(longest), strict=True):
                stay = self._stay(worth, len(new))
                kept, worth = torch.cat([kept[stay], new]), torch.cat([worth[stay] * decay, its])
                decay = 1.0  # once a turn
        return kept, worth

    def entropies(
        self, dialogue: Dialogue, turn: "Int[Tensor, ' said']"
    ) -> "Float[Tensor, ' said']":
        """Of the tokens of a turn, given by their places."""
        import torch

        if self.settings.entropy == "official":
            twice = dialogue.repeat[turn]
            return torch.cat([twice.max()[None], twice[:-1]])
        own = dialogue.surprise[turn]
        return torch.cat([own.max()[None], own[1:]])

    def _stay(self, worth: "Float[Tensor, ' kept']", coming: int) -> "Bool[Tensor, ' kept']":
        """Which of the tokens that are kept stay when so many more come."""
        import torch

        told = self.settings
        room = told.sinks + told.entropy_tokens + told.recent_tokens - coming
        if len(worth) <= room:
            return torch.ones(len(worth), dtype=torch.bool)
        stay = torch.arange(len(worth)) < told.sinks
        best = worth.argsort(descending=True, stable=True)
        stay[best[: max(0, told.entropy_tokens - coming)]] = True
        others = (~stay).nonzero()[:, 0]
        stay[others[len(others) - (room - int(stay.sum())) :]] = True
        return stay
