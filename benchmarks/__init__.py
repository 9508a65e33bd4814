"""How fast: `training` against other ways to train, `scaling` with the work and the machines, `pipeline` as a whole."""
