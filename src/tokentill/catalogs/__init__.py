"""The catalogs that ship with tokentill: one TOML file per source document."""
