"""Whether our books and the payment provider agree: its lists read again and again, compared to the cent."""
