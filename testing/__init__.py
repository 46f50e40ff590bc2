"""Code that tests and benchmarks share, and trials of the whole system that pytest does not run."""
