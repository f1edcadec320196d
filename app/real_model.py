"""real_model: suggest a published model that fits this machine, and the command to get it."""

import psutil

from app.in_words import as_size
from vstream.models.known_models import fitting


def real_model() -> str | None:
    """A sentence; None if no known model fits."""
    import torch

    card = torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else None
    found = fitting(card, psutil.virtual_memory().available)
    if found is None:
        return None
    needed = as_size(found.device_bytes(is_card=card is not None))
    place = "RAM" if card is None else "GPU memory"
    return (
        f"{found.hub_id} knows real scenes and fits here ({needed} of {place}): download it with "
        f"`vstream pull {found.hub_id}` ({as_size(found.disk_bytes)}) and pass it to --model."
    )
