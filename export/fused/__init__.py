"""Graphs of few launches for CUDA: encoder, fusion and entities in one, the relations in another."""
