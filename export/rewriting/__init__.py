"""Rewriting of traced graphs to the operators and the order that engines run fast."""
