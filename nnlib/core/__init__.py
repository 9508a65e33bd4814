"""The study's functions, one dependency of every training stage: a layer, the network, the training loop, the seeds."""
