"""The HTTP service: OpenAI-shaped requests in, answers with their evidence out."""
