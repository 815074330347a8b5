"""saccade doctor"""

from saccade.cli.options import AsJson


def doctor(as_json: AsJson = False) -> None:
    """Say what this machine has, what saccade will use of it, and what is wrong."""
    import typer

    from saccade.cli.printing import print_json
    from saccade.recipes.doctor import examine

    health = examine()
    if as_json:
        print_json({"facts": health.facts, "problems": health.problems})
    else:
        width = max(map(len, health.facts))
        for name, value in health.facts.items():
            print(f"{name:{width}}  {value}")
        for problem in health.problems:
            print(f"problem: {problem}")
        print("all is well" if not health.problems else "")
    if health.problems:
        raise typer.Exit(1)
