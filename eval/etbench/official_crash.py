"""OfficialCrash: an answer on which the official scorer would end with an exception."""


class OfficialCrash(Exception):
    """Raised where an answer is read; the sample then counts as failed and is listed."""

    def __init__(self, raises: str, why: str) -> None:
        super().__init__(f"{raises}: {why}")
        self.raises = raises
        self.why = why
