"""Places that streams are kept in, one a scheme of addresses."""
