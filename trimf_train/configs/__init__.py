"""The configurations that ship with TriMF, one TOML file per data set."""
