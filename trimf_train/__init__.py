"""Train and evaluate TriMF models: data readers, the PyTorch model, two-stage training, evaluation and experiments."""
