"""Functions that stand for models, and quote what they were asked."""


def quotes(request):
    """The last message, and that it is quoted."""
    return f"you said {request.messages[-1].content}"


def fails(request):
    """Quotes it in its failure."""
    raise RuntimeError(f"can't do {request.messages[-1].content}")
