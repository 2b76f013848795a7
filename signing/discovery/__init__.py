"""Which orchestrators there are: where they are learnt of, what each offers, and the list gateways are given."""
