"""How much one user may store and compute: the service's settings, or the user's own figures."""
