"""How Django itself writes dates in English."""
