"""A simulation of many workers at one store, built from measured costs."""
