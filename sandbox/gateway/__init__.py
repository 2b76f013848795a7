"""Gateways played locally: customers without Ethereum keys that pay an orchestrator through the signer."""
