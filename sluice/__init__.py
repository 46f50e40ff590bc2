"""A client of Sluice's API. It imports nothing of the service's code."""
