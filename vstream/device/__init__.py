"""Decides what a device does next."""
