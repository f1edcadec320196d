"""Model families: one file each, called as the family."""
