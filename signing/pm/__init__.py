"""The pure rooms of micropayments: bytes and numbers in, decisions out; no Django, clock or settings."""
