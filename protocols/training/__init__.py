"""The training loop, what is measured of it, and the shares of a model on disk."""
