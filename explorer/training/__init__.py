"""Adversarial fine-tuning: recipes, losses, the engine, and runs on disk."""
