"""sirllm, a sketch: of a long dialogue the most surprising tokens stay.

Source: SirLLM (Yao et al., ACL 2024, https://arxiv.org/abs/2405.12528), section 3.
"""

import torch
from pydantic import Field

from memory.policies.default import Default, DefaultSettings
from memory.policies.policy import Card


class SirLLMSettings(DefaultSettings):
    dialogue_tokens: int = Field(508, ge=1, description="Tokens of the dialogue that are read.")
    sinks: int = Field(4, ge=0, description="Its first tokens, which always stay.")
    decay: float = Field(0.7, gt=0, le=1, description="A turn later a token counts so much less.")


class SirLLM(Default):
    """Blocks as under default. Differs: the dialogue is read again, so there is no cache."""

    name = "sirllm"
    card = Card(
        paper="SirLLM (Yao et al., ACL 2024), arXiv 2405.12528",
        keeps="blocks as default; of a long dialogue the most surprising tokens are read",
    )
    Settings = SirLLMSettings
    settings: SirLLMSettings

    def kept_dialogue(self, surprise, turns):
        kept, worth = torch.empty(0, dtype=torch.long), torch.empty(0)
        for number in turns.unique():
            new = (turns == number).nonzero()[:, 0]
            fresh = surprise[new].clone()
            fresh[0] = fresh.max()
            room = max(0, self.settings.dialogue_tokens - len(new))
            if len(kept) > room:
                rank = worth.clone()
                rank[: self.settings.sinks] = torch.inf
                stay = rank.topk(room).indices.sort().values
                kept, worth = kept[stay], worth[stay]
            kept, worth = torch.cat([kept, new]), torch.cat([worth * self.settings.decay, fresh])
        stays = torch.zeros(len(surprise), dtype=torch.bool)
        stays[kept] = True
        return stays
