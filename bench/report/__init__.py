"""Reports of benchmarks: schema, statistics, ratios, tables, plots and comparisons."""
