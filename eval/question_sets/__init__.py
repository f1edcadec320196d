"""Published question sets about videos: exact prompts, time rules, scoring rules and tables."""
