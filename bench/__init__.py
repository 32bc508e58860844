"""Timings in one run, as ratios, on the machine they name: python -m bench."""
