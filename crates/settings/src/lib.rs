//! onggi.toml, the environment and the paths that follow from them.
