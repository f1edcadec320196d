"""Real pictures: questions about clips from installed packages."""
