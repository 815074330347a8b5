"""Every claim about speed, as one ratio against a named peer, measured side by side in one run."""
