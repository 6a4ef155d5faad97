"""The mathematics of Gaussian mixtures: importable alone, knows nothing of streams, files or Kafka."""
