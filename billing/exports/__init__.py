"""Files that leave the house: one module a format."""
