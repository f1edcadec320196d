"""real_model: what this machine has in, the published model that fits it and its command out."""

import psutil

from app.in_words import as_size
from vstream.models.known_models import fitting


def real_model() -> str | None:
    """A sentence; None where none of those that are known fits."""
    import torch

    card = torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else None
    found = fitting(card, psutil.virtual_memory().available)
    if found is None:
        return None
    needed = as_size(found.device_bytes(is_card=card is not None))
    place = "RAM" if card is None else "the card"
    return (
        f"{found.hub_id} knows real scenes and fits here ({needed} of {place}): `vstream pull "
        f"{found.hub_id}` gets it ({as_size(found.disk_bytes)}), and --model takes it."
    )
