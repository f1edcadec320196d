"""The stream-world benchmark: compares memory policies on unseen streams with exact answers."""
