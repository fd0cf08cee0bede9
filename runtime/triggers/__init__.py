"""Which words a relation rests on."""
