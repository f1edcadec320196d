"""What the device does next: who waits for it, and who gets it."""
