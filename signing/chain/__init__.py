"""What is read from the chain and sent to it."""
