"""What must be true of the product, story by story."""
