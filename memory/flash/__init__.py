"""What Flash-VStream's two memories are made of: tensors in, tensors out."""
