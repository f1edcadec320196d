"""Model families: one file each, named like the family."""
