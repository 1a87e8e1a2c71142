"""Creation of a template's resources: in moto by AWS's API, or here if moto lacks them."""
