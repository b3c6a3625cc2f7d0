"""A function that stands for a model in the README's examples."""


def hello(_request):
    return "hello"
