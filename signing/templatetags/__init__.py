"""Template tags of the pages' shell."""
