"""Characters to words, subwords and dependency parses."""
