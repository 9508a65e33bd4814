"""The data of the study: getting them, checking them, keeping them."""
