"""Fast paths of a card: the same answers as the plain path, with fewer kernels to start."""
