"""Proofs and examples for running the app elsewhere; nothing here is part of the app."""
