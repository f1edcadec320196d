"""stream_id_of: a stable name for a stream, made from its source, fit for a directory and a URL."""

import hashlib
import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from vstream.sources.address import SourceKind, parse_address


def stream_id_of(url: str) -> str:
    """A slug of the source's name and a hash of what identifies it.

    A file is identified by path, size and modification time, so that a file that was replaced is a
    new stream; everything else by its whole address without user name and password.
    """
    address = parse_address(url)
    if address.kind is SourceKind.FILE and Path(address.target).is_file():
        path = Path(address.target).resolve()
        status = path.stat()
        identity, name = f"{path} {status.st_size} {status.st_mtime_ns}", path.stem
    else:
        parts = urlsplit(address.target)
        identity = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        name = address.name
    slug = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-").lower()[-40:] or "stream"
    return f"{slug}-{hashlib.sha256(os.fsencode(identity)).hexdigest()[:8]}"
