"""5: how much the cluster takes, measured; later the capacity model and the plan of replicas."""
