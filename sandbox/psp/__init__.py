"""Sandbox Pay: a small payment provider that speaks the part of the Stripe API the product uses."""
