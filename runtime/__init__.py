"""Text to ``Extraction``: words, features, four subgraphs and decoding, on numpy and an inference engine."""
