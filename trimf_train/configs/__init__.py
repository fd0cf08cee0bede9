"""Packaged training recipes, one TOML file per data set."""

from pathlib import Path

from trimf.runtime.errors import ConfigError, suggest_name

FOLDER = Path(__file__).parent


def recipe_names() -> list[str]:
    """Return the names of the packaged recipes, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def find_recipe(config: Path) -> Path:
    """Return the path of a configuration that may be the name of a packaged recipe.

    Args:
        config: a TOML file, or the name of a packaged recipe such as ``conll04``. An existing file takes precedence.

    Returns:
        The path of the packaged recipe, or ``config`` itself.

    Raises:
        ConfigError: there is neither such a file nor such a recipe.
    """
    if config.exists():
        return config
    if str(config) in recipe_names():
        return FOLDER / f"{config}.toml"
    near = suggest_name(str(config), recipe_names())
    raise ConfigError(
        f"configuration not found: {config}; pass a TOML file, or the name of a packaged recipe: "
        f"{', '.join(recipe_names())}{f'; did you mean {near}?' if near else ''}"
    )
