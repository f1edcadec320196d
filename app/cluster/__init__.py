"""More than one machine: workers that are a service each, and an ingress in front, on Ray Serve."""
