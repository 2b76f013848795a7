"""The outside world played locally, for the demo and the tests; product code never imports it."""
