"""The pure rooms of probabilistic micropayments: bytes and numbers in, decisions out; no Django, clock or settings."""
