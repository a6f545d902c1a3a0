"""The one place where photo files are decoded: small processes with limits, used by the API and by the workers."""
