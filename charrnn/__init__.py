"""charrnn: character-level language models with recurrent networks, trained on the CPU."""

__version__ = "0.1.0"
