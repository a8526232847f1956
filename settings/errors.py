"""What can be wrong with settings: one error, which names every problem at once."""


class SettingsError(Exception):
    """The operator must change the settings; `problems` has one line each, naming where and what was expected."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
