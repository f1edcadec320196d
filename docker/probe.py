"""Probe: a port of this machine and a path in; exit code 0 out if a GET there answers 200."""

import sys
from http.client import HTTPConnection, HTTPException


def main() -> None:
    """`python probe.py PORT PATH`: what stands in the way goes to stderr, with exit code 1."""
    port, path = int(sys.argv[1]), sys.argv[2]
    connection = HTTPConnection("127.0.0.1", port, timeout=4)  # never through a proxy
    try:
        connection.request("GET", path)
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        sys.exit(f"{path} on port {port}: {error}")
    if status != 200:
        sys.exit(f"{path} on port {port}: {status}")


if __name__ == "__main__":
    main()
