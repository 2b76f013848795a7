"""The product: priced, paid and signed Livepeer tickets."""
