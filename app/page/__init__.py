"""The web page: a ServiceClient in, a Gradio page over it out; it knows app/client.py alone."""
