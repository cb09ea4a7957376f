"""How often embedders find a picture's own item among all of a world."""
