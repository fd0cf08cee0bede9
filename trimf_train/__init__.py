"""Training: data readers, the TriMF model in PyTorch, the two-stage trainer and evaluation."""
