"""The one root of all errors that Standfest raises on purpose."""


class StandfestError(Exception):
    """Something a person can act on: the message names the thing, what was expected and what to do next.

    The command line prints the message as one line and ends with `exit_code`.
    """

    exit_code = 1
