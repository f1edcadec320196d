"""What a service does with streams: events, webhooks and all else that is no HTTP."""
