"""Who is asking: people, customers, members and API keys."""
