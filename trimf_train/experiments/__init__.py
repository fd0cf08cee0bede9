"""The paper's section 4 as commands: grids of training runs, what they measured, and the paper's figures."""
