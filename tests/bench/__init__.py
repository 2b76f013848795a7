"""make bench: how fast the signer is, and that its books hold what it answered."""

import os

# Before the stage starts its server: what is measured waits for the disk as production does.
os.environ["TESTS_FSYNC"] = "on"
