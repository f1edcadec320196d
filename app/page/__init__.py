"""The web page: a ServiceClient in, a Gradio page over it out; it knows HTTP and nothing else."""
