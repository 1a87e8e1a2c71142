"""Bills of materials and licences of the product."""
