"""Sampling: drawing symbols from a trained network, and turning them into text one piece after the other."""
