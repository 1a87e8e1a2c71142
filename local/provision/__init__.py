"""Makes what a template describes: in moto by AWS's own API, or here where moto has no such thing."""
