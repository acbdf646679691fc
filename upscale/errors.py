"""The one error that is the user's to fix."""


class UserError(ValueError):
    """Bad input: the message is one line that says what is wrong, where, and what to do.

    Entry points print the message alone and exit with status 1; anything else is a bug and keeps its traceback.
    """
