"""Rerun the experiments of the paper (section 4): grids of training runs, their results, tables and figures."""
