"""sirllm: blocks as in `default`; of a long dialogue, the tokens that surprised the model most.

Source: SirLLM (Yao et al., ACL 2024, https://arxiv.org/abs/2405.12528), section 3, and its released
code. Let h be a token's entropy, -log p(token | text before it). A cache of `sinks + recent_tokens
+ entropy_tokens` makes room for a turn of m tokens like this:

    keep = the first `sinks`, the (entropy_tokens - m) of largest h, the newest until it is full
    h    = h * decay                                           for every kept token, once per turn

The first token of a turn counts as its most surprising one.
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
    """How much of a dialogue is read; the rest is as in `default`."""

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
    """Without `entropy_tokens` its rule is StreamingLLM's. The official code rejects a turn longer
    than `entropy_tokens + recent_tokens`. Here such a turn comes in pieces of that length, so its
    newest piece is kept, and whatever else fits.
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
        """Return the tokens that stay, in order, and their decayed entropies."""
        import torch

        settings = self.settings
        longest = settings.entropy_tokens + settings.recent_tokens
        kept, worth = torch.empty(0, dtype=torch.long), torch.empty(0, dtype=torch.float64)
        for number in dialogue.turns.unique():
            said = (dialogue.turns == number).nonzero()[:, 0]
            fresh, decay = self.entropies(dialogue, said).double(), settings.decay
            for new, its in zip(said.split(longest), fresh.split(longest), strict=True):
                stay = self._stay(worth, len(new))
                kept, worth = torch.cat([kept[stay], new]), torch.cat([worth[stay] * decay, its])
                decay = 1.0  # once a turn
        return kept, worth

    def entropies(
        self, dialogue: Dialogue, turn: "Int[Tensor, ' said']"
    ) -> "Float[Tensor, ' said']":
        """Return the entropies of a turn's tokens, given by their places in the dialogue."""
        import torch

        if self.settings.entropy == "official":
            twice = dialogue.repeat[turn]
            return torch.cat([twice.max()[None], twice[:-1]])
        own = dialogue.surprise[turn]
        return torch.cat([own.max()[None], own[1:]])

    def _stay(self, worth: "Float[Tensor, ' kept']", coming: int) -> "Bool[Tensor, ' kept']":
        """Return which kept tokens stay when `coming` more arrive."""
        import torch

        settings = self.settings
        room = settings.sinks + settings.entropy_tokens + settings.recent_tokens - coming
        if len(worth) <= room:
            return torch.ones(len(worth), dtype=torch.bool)
        stay = torch.arange(len(worth)) < settings.sinks
        best = worth.argsort(descending=True, stable=True)
        stay[best[: max(0, settings.entropy_tokens - coming)]] = True
        others = (~stay).nonzero()[:, 0]
        stay[others[len(others) - (room - int(stay.sum())) :]] = True
        return stay
