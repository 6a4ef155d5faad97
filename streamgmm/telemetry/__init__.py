"""What others may know of the daemon: metrics, health, status, log. It is handed Reports and touches nothing else."""
