"""The tensor parts of Flash-VStream's two memories."""
