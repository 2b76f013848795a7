"""A Livepeer orchestrator played locally: it issues ticket parameters, verifies payments and redeems winners."""
