"""Make a template's resources: in moto by AWS's own API, or here if moto lacks them."""
