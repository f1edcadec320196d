"""Turns words that name a time into the stretch of the stream that they mean."""
