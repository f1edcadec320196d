"""open_memory: a configuration and a stream's id in, the KVMemory of that stream out."""

import re
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import unquote, urlsplit

import torch

from memory.config import MemoryConfig
from memory.errors import StoreError
from memory.file_tier import FileTier
from memory.host_tier import HostTier
from memory.kv_memory import KVMemory
from memory.stream_directory import StreamDirectory
from memory.stream_make import StreamMake

_STREAM_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")


def open_memory(
    config: MemoryConfig,
    stream_id: str,
    fingerprint: str,
    layers: int,
    kv_heads: int,
    head_dim: int,
    device: torch.device,
) -> KVMemory:
    """Open what the store holds of this stream, or begin it. The index lives on `device`.

    Raises StoreError if the store cannot be used, or another writer has the stream open;
    FingerprintMismatchError if its blocks were made by another model, codec or settings;
    BlockCorruptError if a block in the middle of the file is damaged.
    """
    if not _STREAM_ID.fullmatch(stream_id):
        raise StoreError(
            f"stream id {stream_id!r}: use up to 128 of A-Z a-z 0-9 . _ - and no dot at the start"
        )
    make = StreamMake(fingerprint, config.codec, layers, kv_heads, head_dim)
    directory_of_store = _store_directory(config.store)
    host = HostTier(config.host_bytes)
    if directory_of_store is None:
        return KVMemory(make, device, host)
    with ExitStack() as opened:
        directory = StreamDirectory(directory_of_store / stream_id, make)
        opened.callback(directory.close)
        blocks = FileTier(directory.blocks_path)
        opened.callback(blocks.close)
        memory = KVMemory(make, device, host, blocks, directory)
        opened.pop_all()
    return memory


def _store_directory(store: str) -> Path | None:
    """The directory of file:///DIR, None for memory://. Raises StoreError for all else."""
    if store == "memory://":
        return None
    try:
        url = urlsplit(store)
    except ValueError as error:
        raise StoreError(f"store {store!r}: {error}; use memory:// or file:///DIR") from error
    if url.scheme != "file":
        raise StoreError(f"store {store!r}: unknown kind of store; use memory:// or file:///DIR")
    if url.netloc or not url.path.startswith("/") or url.query or url.fragment:
        raise StoreError(
            f"store {store!r}: give the directory as an absolute path with three slashes, as "
            "file:///var/lib/streams"
        )
    return Path(unquote(url.path))
