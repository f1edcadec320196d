"""Videos of any benchmark played in stream time through the product's engine, and asked about."""
