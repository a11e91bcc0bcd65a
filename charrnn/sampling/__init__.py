"""Sampling: drawing symbols from a trained network, and turning them into text as they come."""
