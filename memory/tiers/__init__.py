"""Tiers: places that hold streams, one per scheme of addresses."""
