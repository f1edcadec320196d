"""Words that name a time in, the stretch of the stream that they mean out."""
