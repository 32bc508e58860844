"""Attacks, their registry, and the one function that runs and measures them all."""
