"""From text to an ``Extraction``, on numpy and a backend; never PyTorch."""
