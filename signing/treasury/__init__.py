"""The pooled money on the chain: its bookings, its funding and the proofs that books and chain agree."""
