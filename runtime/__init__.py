"""Text to :class:`Extraction`: words, features, four subgraphs and decoding, on numpy and an inference engine."""
