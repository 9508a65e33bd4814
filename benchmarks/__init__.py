"""How fast: `training` against other ways to train, `scaling` with the size of the work, `pipeline` as a whole."""
