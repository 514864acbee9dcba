"""Device login: programs that are approved in a browser."""
