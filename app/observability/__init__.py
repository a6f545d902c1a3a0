"""What an operator sees: metrics of the API, and traces from the request to the worker."""
