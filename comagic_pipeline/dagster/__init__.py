"""The project as Dagster sees it. Below this package nothing imports Dagster."""
