"""Many seeds at once: what a run is, and the engines that train it."""
