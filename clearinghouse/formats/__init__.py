"""How Django itself writes dates, a language each."""
