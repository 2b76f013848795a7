"""The money: ledger, wallets, top-ups, usage and statements; it never learns what a ticket is."""
