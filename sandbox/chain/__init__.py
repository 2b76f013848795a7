"""A small Ethereum chain with the ticket protocol on it, played locally over JSON-RPC."""
