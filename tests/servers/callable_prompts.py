"""A function that stands for a model, and remembers what it was given."""

HEARD: list = []
"""The messages of each call so far, in order."""


def remembers(request):
    """How many messages there were."""
    HEARD.append(request.messages)
    return str(len(request.messages))
