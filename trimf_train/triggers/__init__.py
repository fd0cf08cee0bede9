"""Teach a model's trigger sensor what its relations rest on, by leaving words out of training sentences."""
