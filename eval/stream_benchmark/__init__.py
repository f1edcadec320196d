"""The stream-world benchmark: policies of memory compared on unseen streams with exact answers."""
