"""The TriMF model in PyTorch, one module of the paper per file.

Axes: B sentences, T subwords, N words, K span widths, S sampled spans, M entity spans, P ordered pairs, H the encoder's
width, ``n_e`` entity types without None, ``n_r`` relation types, ``n_d`` dependency labels.
"""
