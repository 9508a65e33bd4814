"""The pipeline's stages: each reads parameters and files, calls nnlib, writes files; dvc.yaml has the order."""
