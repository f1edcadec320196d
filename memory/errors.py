"""What can go wrong in the memory (the builtin MemoryError is something else)."""


class KVMemoryError(Exception):
    """Base of the errors that the memory raises for a caller to handle."""


class StoreError(KVMemoryError):
    """The store cannot be opened, read or written; the message says which and why."""


class StoreAwayError(StoreError):
    """The store cannot be reached, or is full, for now: it may come back by itself."""


class StreamReplacedError(StoreError):
    """A stream that is being read has a new writer or a new beginning: it must be opened again."""


class FencedError(StoreError):
    """Another process writes the stream now; this one must not any more."""


class FingerprintMismatchError(KVMemoryError):
    """The stored blocks were made by another model or with other ingest settings."""


class BlockRejectedError(KVMemoryError):
    """A block that was to be appended does not fit the stream or cannot be encoded."""


class BlockNotFoundError(KVMemoryError):
    """A block that was asked for is in no tier (any more)."""


class BlockLostError(BlockNotFoundError):
    """A block was found damaged as it was read; from now on it is as if it were not there."""


class BlockCorruptError(KVMemoryError):
    """A stored record does not match its checksum."""


class PolicyError(KVMemoryError):
    """A memory policy cannot be followed so: a setting, the model or the store stand against it."""


class UnknownNameError(KVMemoryError):
    """No class has that name, or more than one, or it cannot be loaded; the message lists them."""
