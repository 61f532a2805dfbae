"""The networks. `registry.build_model` makes one from a config, `complexity` says what it costs."""
