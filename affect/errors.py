"""The one error that is the user's to mend."""


class UserError(Exception):
    """A mistake in input or options: one sentence that names the file, the place and the value.

    Commands print the sentence alone and exit with status 2; nothing is written before it is raised. It stays one
    line whatever the file named in it or its content looks like.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(" ".join("".join(c if c.isprintable() else " " for c in sentence).split()))
