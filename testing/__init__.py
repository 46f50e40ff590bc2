"""What tests and benchmarks share, and trials of the whole that are no tests."""
