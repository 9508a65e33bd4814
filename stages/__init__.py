"""The pipeline's stages: each reads parameters and files, calls nnlib, and writes files. `dvc.yaml` says in what order."""
