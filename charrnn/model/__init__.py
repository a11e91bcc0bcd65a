"""The model: configuration, parameters, the equations of each cell, and the network that joins them."""
