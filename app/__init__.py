"""HTTP and the contract shared with the workers. Imports no torch and no numpy, ever."""
