"""Plays any benchmark's videos in stream time through the product's engine, and asks about them."""
