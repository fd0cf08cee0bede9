"""TriMF model in PyTorch; each file implements one module of the paper.

Names of dimensions: B sentences, T subwords, N words, K maximum span width in words, S sampled spans, M entity spans,
P ordered pairs of entity spans, H hidden size of the encoder, ``n_e`` entity types without None, ``n_r`` relation
types, ``n_d`` dependency labels.
"""
