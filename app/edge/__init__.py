"""What every request passes on its way in and out: request id and log, security headers, CORS, the body's bound, the last resort."""
