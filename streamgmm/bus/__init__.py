"""What Kafka is, said once: clients and their options, errors and their causes, what a fetch holds."""
