"""How fast: `training` against other ways to train, `scaling` with the size of the work, `pipeline` as a whole."""

import stages  # noqa: F401 - sets the pipeline's environment, before torch is imported
