"""The errors of the memory (the builtin MemoryError is something else)."""


class KVMemoryError(Exception):
    """Base of the errors that the memory raises for callers to handle."""


class StoreError(KVMemoryError):
    """The store cannot be opened, read or written; the message says which store and why."""


class StoreAwayError(StoreError):
    """The store is unreachable or full for now; it may recover by itself."""


class StreamReplacedError(StoreError):
    """The stream being read has a new writer or was started again; it must be reopened."""


class FencedError(StoreError):
    """Another process now writes the stream; this one must stop."""


class FingerprintMismatchError(KVMemoryError):
    """The stored blocks were made by another model or with other ingest settings."""


class BlockRejectedError(KVMemoryError):
    """A block to append does not fit the stream or cannot be encoded."""


class BlockNotFoundError(KVMemoryError):
    """The requested block is in no tier, or not any more."""


class BlockLostError(BlockNotFoundError):
    """A block was found damaged when it was read; from now on it counts as missing."""


class BlockCorruptError(KVMemoryError):
    """A stored record does not match its checksum."""


class PolicyError(KVMemoryError):
    """A memory policy cannot run with these settings, this model or this store."""


class UnknownNameError(KVMemoryError):
    """No class has that name, several do, or it cannot be loaded; the message lists them."""
