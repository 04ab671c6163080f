"""How the epochs of a short training are best used."""
