"""The process with the key: three routes, no pages, and no ticket leaves before its money is committed."""
