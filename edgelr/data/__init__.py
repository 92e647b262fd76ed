"""Read samples: splits, recipes, and where they come from."""
from edgelr.data.read import checked, read_data
from edgelr.data.recipe import Recipe, apply, load_recipe, recipe_names, recipes_folder
from edgelr.data.split import Data, Samples, Split

__all__ = ["Data", "Recipe", "Samples", "Split", "apply", "checked", "load_recipe", "read_data", "recipe_names", "recipes_folder"]
