"""An orchestrator played locally: it serves work, verifies every ticket and redeems winners on the chain."""
