"""Template filters of the money rooms."""
