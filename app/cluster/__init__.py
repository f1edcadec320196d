"""Several machines: workers, each of them a service, behind ingresses, on Ray Serve."""
