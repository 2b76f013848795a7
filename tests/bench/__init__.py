"""The benchmark of the signer: real server, real database, real signatures, and the books checked after each run."""
