"""A simulation of faults: the real handlers, in virtual time, on a cloud in memory; see docs/chaos.md."""
