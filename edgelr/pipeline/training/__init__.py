"""--train: which recipe, on which samples, for how long; the network trained whole and in its factors; kept, so that it can go on."""
