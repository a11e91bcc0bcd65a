"""Training: the loop, its settings, the optimisers, evaluation, checkpoints and the journal."""
